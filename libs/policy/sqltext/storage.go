package sqltext

import "strings"

// rawStorage says whether a relation holds what other tables hold, in another form: pages of the file, samples of columns, large objects, statements
// of others. Whoever reads it reads past every rule about the tables themselves. A name with its schema is looked at with and without it.
func rawStorage(name string) bool {
	if schema, _, named := strings.Cut(name, "."); named && (strings.HasPrefix(schema, "pg_toast") || schema == "mysql" || schema == "performance_schema") {
		return true
	}
	switch name {
	case "sqlite_dbpage", "sqlite_dbdata", "sqlite_dbptr", "sqlite_stmt", "dbstat", "fsdir", "zipfile",
		"pg_authid", "pg_shadow", "pg_user_mapping", "pg_user_mappings", "pg_subscription", "pg_file_settings", "pg_hba_file_rules",
		"pg_stat_activity", "pg_prepared_statements", "pg_cursors", "pg_buffercache", "processlist", "column_statistics", "column_stats":
		return true
	}
	for _, prefix := range []string{
		"sqlite_stat", "pragma_", "pg_largeobject", "pg_statistic", "pg_stats", "pg_toast", "pg_stat_statements", "innodb_", "dm_exec_", "events_statements_", "x$",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
