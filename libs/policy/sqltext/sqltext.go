// Package sqltext reads SQL that somebody else will run and says what it would do, for rules such as sql(args.query).readOnly.
package sqltext

// Statement is what a text says. The zero value says nothing is known, which is not read-only.
type Statement struct {
	ReadOnly  bool
	Count     int
	Tables    []string
	Functions []string
	HasWhere  bool
	// Why says in a sentence why ReadOnly is false.
	Why string
}

// Read never fails: what it does not understand is not read-only.
func Read(text string) *Statement {
	return &Statement{Why: "not understood"}
}
