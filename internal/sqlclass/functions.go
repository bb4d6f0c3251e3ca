package sqlclass

// verdict is what is known of a function.
type verdict uint8

const (
	unknown verdict = iota
	pure            // without effect, and of the same answer on a node that is up to date
	writes
	settings // changes a setting of the connection
	locks    // takes or gives back a lock of the connection
	memory   // asks for what the connection remembers
)

// postgresFunction tells of a function by its name in lower case. Pure are those
// that PostgreSQL declares immutable or stable in every variant, without those
// that look at the catalog, at settings or at the node, or run a text as SQL; and
// of the volatile ones those whose only fault is another answer each time.
func postgresFunction(s []byte) verdict {
	switch string(s) { // no copy is made
	case
		// special syntax
		"coalesce", "greatest", "least", "nullif", "extract", "grouping", "normalize", "overlay", "position", "substring",
		"treat", "trim", "cast", "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlparse", "xmlpi", "xmlroot",
		"xmlserialize", "xmlattributes", "current_time", "current_timestamp", "localtime", "localtimestamp",
		"json", "json_scalar", "json_serialize", "json_array", "json_arrayagg", "json_objectagg", "json_exists", "json_query",
		"json_value", "json_table", "merge_action",
		// numbers
		"abs", "cbrt", "ceil", "ceiling", "degrees", "div", "erf", "erfc", "exp", "factorial", "floor", "gamma", "gcd", "lcm", "lgamma",
		"ln", "log", "log10", "min_scale", "mod", "pi", "pow", "power", "radians", "random", "random_normal", "round", "scale", "sign",
		"sqrt", "trim_scale", "trunc", "width_bucket", "acos", "acosd", "acosh", "asin", "asind", "asinh", "atan", "atan2", "atan2d",
		"atand", "atanh", "cos", "cosd", "cosh", "cot", "cotd", "sin", "sind", "sinh", "tan", "tand", "tanh",
		"int2", "int4", "int8", "float4", "float8", "money", "bool", "to_hex", "to_bin", "to_oct",
		// text
		"ascii", "bit_count", "bit_length", "btrim", "casefold", "char_length", "character_length", "chr", "concat", "concat_ws", "convert",
		"convert_from", "convert_to", "crc32", "crc32c", "decode", "encode", "format", "get_bit", "get_byte", "initcap", "is_normalized",
		"left", "length", "like", "lower", "lpad", "ltrim", "md5", "octet_length", "parse_ident", "quote_ident", "quote_literal",
		"quote_nullable", "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches", "regexp_replace",
		"regexp_split_to_array", "regexp_split_to_table", "regexp_substr", "repeat", "replace", "reverse", "right", "rpad", "rtrim",
		"set_bit", "set_byte", "sha224", "sha256", "sha384", "sha512", "split_part", "starts_with", "string_to_array", "string_to_table",
		"strpos", "substr", "text", "to_ascii", "to_char", "to_date", "to_number", "to_timestamp", "translate", "unistr", "bpchar", "name",
		// time
		"age", "clock_timestamp", "date", "date_add", "date_bin", "date_part", "date_subtract", "date_trunc", "isfinite", "justify_days",
		"justify_hours", "justify_interval", "make_date", "make_interval", "make_time", "make_timestamp", "make_timestamptz", "now",
		"overlaps", "statement_timestamp", "timeofday", "timestamptz", "timetz", "timezone", "transaction_timestamp",
		// arrays, ranges, sets
		"array_append", "array_cat", "array_dims", "array_fill", "array_length", "array_lower", "array_ndims", "array_position",
		"array_positions", "array_prepend", "array_remove", "array_replace", "array_reverse", "array_sample", "array_shuffle", "array_sort",
		"array_to_string", "array_upper", "cardinality", "trim_array", "unnest", "generate_series", "generate_subscripts",
		"datemultirange", "daterange", "int4multirange", "int4range", "int8multirange", "int8range", "isempty", "lower_inc", "lower_inf",
		"multirange", "nummultirange", "numrange", "range_agg", "range_intersect_agg", "range_merge", "tsmultirange", "tsrange",
		"tstzmultirange", "tstzrange", "upper", "upper_inc", "upper_inf", "enum_first", "enum_last", "enum_range", "num_nonnulls", "num_nulls",
		// json and xml
		"array_to_json", "json_agg", "json_array_elements", "json_array_elements_text", "json_array_length", "json_build_array",
		"json_build_object", "json_each", "json_each_text", "json_extract_path", "json_extract_path_text", "json_object", "json_object_agg",
		"json_object_keys", "json_populate_record", "json_populate_recordset", "json_strip_nulls", "json_to_record", "json_to_recordset",
		"json_to_tsvector", "json_typeof", "jsonb_agg", "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_array_length",
		"jsonb_build_array", "jsonb_build_object", "jsonb_each", "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text",
		"jsonb_insert", "jsonb_object", "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_exists_tz",
		"jsonb_path_match", "jsonb_path_match_tz", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_array_tz",
		"jsonb_path_query_first", "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record", "jsonb_populate_recordset",
		"jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls", "jsonb_to_record", "jsonb_to_recordset", "jsonb_to_tsvector",
		"jsonb_typeof", "row_to_json", "to_json", "to_jsonb", "xml_is_well_formed", "xml_is_well_formed_content",
		"xml_is_well_formed_document", "xmlagg", "xmlcomment", "xpath", "xpath_exists",
		// aggregates and windows
		"array_agg", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "corr", "count", "covar_pop", "covar_samp", "cume_dist",
		"dense_rank", "every", "first_value", "lag", "last_value", "lead", "max", "min", "mode", "nth_value", "ntile", "percent_rank",
		"percentile_cont", "percentile_disc", "rank", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope",
		"regr_sxx", "regr_sxy", "regr_syy", "row_number", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "var_pop", "var_samp",
		"variance", "any_value",
		// full text
		"array_to_tsvector", "numnode", "phraseto_tsquery", "plainto_tsquery", "querytree", "setweight", "strip", "to_tsquery",
		"to_tsvector", "ts_delete", "ts_filter", "ts_headline", "ts_rank", "ts_rank_cd", "tsquery_phrase", "tsvector_to_array",
		"websearch_to_tsquery",
		// networks and geometry
		"abbrev", "broadcast", "family", "host", "hostmask", "inet_merge", "inet_same_family", "macaddr8_set7bit", "masklen", "netmask",
		"network", "set_masklen", "area", "bound_box", "box", "center", "circle", "diagonal", "diameter", "height", "isclosed", "ishorizontal",
		"isopen", "isparallel", "isperp", "isvertical", "line", "lseg", "npoints", "path", "pclose", "point", "polygon", "popen", "radius",
		"slope", "width",
		// identity
		"gen_random_uuid", "uuidv4", "uuidv7", "uuid_extract_timestamp", "uuid_extract_version", "current_database", "current_schema",
		"version", "inet_server_addr", "inet_server_port", "pg_sleep", "pg_sleep_for", "pg_typeof", "pg_column_size", "pg_size_pretty",
		"pg_size_bytes", "pg_client_encoding":
		return pure
	case "nextval", "setval", "pg_notify":
		return writes
	case "set_config", "setseed":
		return settings
	case "pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_advisory_unlock",
		"pg_advisory_unlock_shared", "pg_advisory_unlock_all":
		return locks
	case "lastval", "currval", "current_setting", "pg_my_temp_schema":
		return memory
	}
	return unknown
}

// mysqlFunction tells of a function of MySQL or MariaDB by its name in lower
// case.
func mysqlFunction(s []byte) verdict {
	switch string(s) { // no copy is made
	case
		// control and comparison
		"coalesce", "greatest", "if", "ifnull", "interval", "isnull", "least", "nullif", "nvl", "nvl2", "strcmp", "cast",
		"convert", "default", "grouping", "any_value", "row",
		// numbers
		"abs", "acos", "asin", "atan", "atan2", "bin", "bit_count", "ceil", "ceiling", "conv", "cos", "cot", "crc32", "degrees", "exp",
		"floor", "format", "hex", "ln", "log", "log10", "log2", "mod", "oct", "pi", "pow", "power", "radians", "rand", "round", "sign", "sin",
		"sqrt", "tan", "truncate", "crc32c",
		// text
		"ascii", "bit_length", "char", "char_length", "character_length", "chr", "concat", "concat_ws", "elt", "export_set", "field",
		"find_in_set", "from_base64", "insert", "instr", "lcase", "left", "length", "lengthb", "locate", "lower", "lpad", "ltrim", "make_set",
		"mid", "natural_sort_key", "octet_length", "ord", "position", "quote", "regexp_instr", "regexp_like", "regexp_replace",
		"regexp_substr", "repeat", "replace", "reverse", "right", "rpad", "rtrim", "sformat", "soundex", "space", "substr",
		"substring", "substring_index", "to_base64", "to_char", "trim", "ucase", "unhex", "upper", "weight_string", "charset", "coercibility",
		"collation",
		// time
		"adddate", "addtime", "add_months", "convert_tz", "curdate", "current_date", "current_time", "current_timestamp", "curtime", "date",
		"date_add", "date_format", "date_sub", "datediff", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "extract", "from_days",
		"from_unixtime", "get_format", "hour", "last_day", "localtime", "localtimestamp", "makedate", "maketime", "microsecond", "minute",
		"month", "monthname", "months_between", "now", "period_add", "period_diff", "quarter", "sec_to_time", "second", "str_to_date",
		"subdate", "subtime", "sysdate", "time", "time_format", "time_to_sec", "timediff", "timestamp", "timestampadd", "timestampdiff",
		"to_days", "to_seconds", "unix_timestamp", "utc_date", "utc_time", "utc_timestamp", "week", "weekday", "weekofyear", "year", "yearweek",
		// aggregates and windows
		"avg", "bit_and", "bit_or", "bit_xor", "count", "cume_dist", "dense_rank", "first_value", "group_concat", "json_arrayagg",
		"json_objectagg", "lag", "last_value", "lead", "max", "median", "min", "nth_value", "ntile", "percent_rank", "percentile_cont",
		"percentile_disc", "rank", "row_number", "std", "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance",
		// json, xml
		"extractvalue", "updatexml", "json_array", "json_array_append", "json_array_insert", "json_array_intersect", "json_compact",
		"json_contains", "json_contains_path", "json_depth", "json_detailed", "json_equals", "json_exists", "json_extract",
		"json_insert", "json_keys", "json_length", "json_loose", "json_merge", "json_merge_patch", "json_merge_preserve", "json_normalize",
		"json_object", "json_overlaps", "json_pretty", "json_query", "json_quote", "json_remove", "json_replace", "json_search", "json_set",
		"json_storage_free", "json_storage_size", "json_table", "json_type", "json_unquote", "json_valid", "json_value",
		"json_schema_valid",
		// digests, networks
		"aes_decrypt", "aes_encrypt", "compress", "md5", "random_bytes", "sha", "sha1", "sha2", "uncompress", "uncompressed_length",
		"inet_aton", "inet_ntoa", "inet6_aton", "inet6_ntoa", "is_ipv4", "is_ipv4_compat", "is_ipv4_mapped", "is_ipv6", "uuid", "uuid_short",
		"uuid_to_bin", "bin_to_uuid", "is_uuid", "sys_guid",
		// geometry
		"st_area", "st_asbinary", "st_asgeojson", "st_astext", "st_aswkb", "st_aswkt", "st_boundary", "st_buffer", "st_centroid",
		"st_contains", "st_convexhull", "st_crosses", "st_difference", "st_dimension", "st_disjoint", "st_distance",
		"st_distance_sphere", "st_endpoint", "st_envelope", "st_equals", "st_exteriorring", "st_geohash", "st_geomfromgeojson",
		"st_geomfromtext", "st_geomfromwkb", "st_geometryn", "st_geometrytype", "st_interiorringn", "st_intersection", "st_intersects",
		"st_isclosed", "st_isempty", "st_isring", "st_issimple", "st_isvalid", "st_latfromgeohash", "st_latitude", "st_length",
		"st_longfromgeohash", "st_longitude", "st_numgeometries", "st_numinteriorrings", "st_numpoints", "st_overlaps", "st_pointn",
		"st_pointfromtext", "st_pointonsurface", "st_relate", "st_simplify", "st_srid", "st_startpoint", "st_swapxy", "st_symdifference",
		"st_touches", "st_transform", "st_union", "st_validate", "st_within", "st_x", "st_y", "mbrcontains", "mbrcoveredby", "mbrcovers",
		"mbrdisjoint", "mbrequals", "mbrintersects", "mbroverlaps", "mbrtouches", "mbrwithin", "point", "linestring", "polygon",
		"multipoint", "multilinestring", "multipolygon", "geometrycollection",
		// vectors
		"vec_distance", "vec_distance_euclidean", "vec_distance_cosine", "vec_fromtext", "vec_totext", "string_to_vector",
		"vector_to_string", "vector_dim", "distance",
		// identity
		"database", "schema", "version", "current_user", "user", "session_user", "system_user", "current_role", "sleep", "benchmark":
		return pure
	case "nextval", "setval":
		return writes
	case "get_lock", "release_lock", "release_all_locks", "is_free_lock", "is_used_lock":
		return locks
	case "last_insert_id", "found_rows", "row_count", "lastval", "connection_id":
		return memory
	}
	return unknown
}
