package sqltext

import "strings"

// computing are functions of PostgreSQL, SQLite, MySQL and SQL Server that only compute a value from their arguments or read what the
// database says about itself. It is a list of what is let through, not of what is kept out: nextval, setval, pg_read_file, lo_import, dblink,
// pg_sleep, set_config, query_to_xml, ts_stat, load_extension, load_file and all that nobody thought of are not on it.
var computing = tableOf(`
abs acos asin atan atan2 cbrt ceil ceiling cos cot degrees div exp floor gcd lcm ln log log10 log2 mod pi pow power radians random rand round
scale sign sin sqrt tan trunc width_bucket greatest least isnan

ascii bit_length btrim char char_length character_length chr concat concat_ws convert_from convert_to decode encode format group_concat hex initcap
instr left length lower lpad ltrim md5 octet_length overlay position printf quote_ident quote_literal quote_nullable regexp_count regexp_instr
regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace reverse right
rpad rtrim sha224 sha256 sha384 sha512 space split_part starts_with strpos substr substring substring_index to_hex translate trim unhex
unicode upper len charindex patindex stuff string_to_array string_to_table array_to_string similarity word_similarity levenshtein soundex unaccent

age clock_timestamp current_date current_time current_timestamp curdate curtime date date_add date_bin date_diff date_format date_part date_sub
date_trunc datediff dateadd datename datepart datetime day dayname dayofmonth dayofweek dayofyear extract from_unixtime getdate hour isfinite
julianday justify_days justify_hours justify_interval last_day localtime localtimestamp make_date make_interval make_time make_timestamp
make_timestamptz minute month monthname now quarter second statement_timestamp str_to_date strftime sysdate time timediff timestamp
timestampdiff timezone to_char to_date to_number to_timestamp transaction_timestamp unix_timestamp unixepoch week weekday year

array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every json_agg json_object_agg jsonb_agg
jsonb_object_agg max median min mode percentile_cont percentile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum total var_pop var_samp variance grouping json_group_array json_group_object
approx_count_distinct

cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number

array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions array_prepend array_remove
array_replace array_upper cardinality unnest generate_series generate_subscripts

json_array json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text
json_contains json_extract json_extract_path json_extract_path_text json_keys json_length json_object json_object_keys json_quote
json_strip_nulls json_to_record json_to_recordset json_tree json_type json_typeof json_unquote json_valid json_value jsonb_array_elements
jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path
jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof
row_to_json to_json to_jsonb array_to_json

coalesce if ifnull iif isnull nullif nvl num_nonnulls num_nulls typeof pg_typeof

plainto_tsquery phraseto_tsquery websearch_to_tsquery to_tsquery to_tsvector ts_headline ts_rank ts_rank_cd setweight strip numnode bm25
snippet highlight

isempty lower_inc lower_inf upper_inc upper_inf range_merge int4range int8range numrange tsrange tstzrange daterange
host hostmask netmask network masklen family broadcast inet_same_family abbrev
uuid_nil gen_random_uuid uuid_generate_v4 newid uuid

current_catalog current_database current_role current_schema current_schemas current_setting current_user database session_user user version
format_type obj_description col_description shobj_description to_regclass to_regtype pg_get_constraintdef pg_get_expr pg_get_indexdef
pg_get_viewdef pg_get_serial_sequence pg_table_is_visible pg_relation_size pg_total_relation_size pg_table_size pg_indexes_size
pg_database_size pg_size_pretty pg_column_size has_table_privilege has_column_privilege has_schema_privilege has_database_privilege
pg_get_userbyid
`)

func tableOf(words string) map[string]bool {
	table := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		table[word] = true
	}
	return table
}

func onlyComputes(function string) bool { return computing[function] }
