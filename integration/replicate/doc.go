// Package replicate tests package replicate on real servers: PostgreSQL with streaming
// replication through pgx, lib/pq, gorm and sqlx, and MariaDB with replication by GTID.
package replicate
