CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE users (id int PRIMARY KEY, name text, email text, manager int, mood mood DEFAULT 'ok', created timestamptz DEFAULT now(),
  tags text[], doc jsonb, "for" int DEFAULT 1, "update" int DEFAULT 2, hits int DEFAULT 0);
CREATE TABLE orders (id int PRIMARY KEY, user_id int, total numeric(10, 2), state text);
INSERT INTO users (id, name, email, manager, tags, doc) VALUES
  (1, 'ann', 'ann@example.com', NULL, '{a,b}', '{"a": 1, "n": 5}'), (2, 'bob', 'bob@example.com', 1, '{}', '{}'), (3, 'cy', NULL, 1, NULL, NULL);
INSERT INTO orders VALUES (1, 1, 9.99, 'paid'), (2, 1, 1, 'open');
CREATE SEQUENCE seq;
CREATE SCHEMA app;
