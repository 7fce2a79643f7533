package ledger

// RememberEvery has what is derived again remembered after so many records, until the test puts it back.
func RememberEvery(records int) (back func()) {
	before := rememberEvery
	rememberEvery = records
	return func() { rememberEvery = before }
}
