package export

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/hidden"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Report is one question that a regulation asks of the record.
type Report struct {
	Title string
	// Asks says which rules ask it.
	Asks string
	// Wants picks records among those that the filter wants.
	Wants func(ev *eventsv1.Event) bool
	// Requests says that the requests are counted beside the records.
	Requests bool
	// Subject is whom the records are about; empty when that is no matter.
	Subject string
}

// About narrows a report to the calls about one subject, which the ids of its keys in records tell.
func (r Report) About(subject string, keys []string) Report {
	before := r.Wants
	r.Subject, r.Wants = subject, func(ev *eventsv1.Event) bool {
		of := []string{ev.GetArguments().GetSubjectKey(), ev.GetArguments().GetSealed().GetKey(), ev.GetResult().GetSealed().GetKey()}
		return before(ev) && slices.ContainsFunc(of, func(key string) bool { return slices.Contains(keys, key) })
	}
	return r
}

// ByPerson is what one person did.
func ByPerson() Report {
	return Report{Title: "Access by a person", Asks: "HIPAA 164.312(b), SOC 2 CC6.1, 21 CFR 11.10(e)", Wants: func(*eventsv1.Event) bool { return true }}
}

// ByRecord is who touched one record; the filter's text names it.
func ByRecord() Report {
	return Report{Title: "Access to a record", Asks: "HIPAA 164.528, SEC 17a-4(f), 21 CFR 11.10(e)", Wants: func(*eventsv1.Event) bool { return true }}
}

// Approvals is what waited for a person.
func Approvals() Report {
	return Report{Title: "Approvals", Asks: "EU AI Act Art. 14, FINRA 3110, 21 CFR 11.50, SOC 2 CC8.1", Wants: func(ev *eventsv1.Event) bool {
		return ev.GetDecision().GetEffect() == record.Escalate || strings.HasPrefix(ev.GetAction(), "approval") || strings.EqualFold(ev.GetChange().GetKind(), "approval")
	}}
}

// Denied is what was refused.
func Denied() Report {
	return Report{Title: "Refused calls", Asks: "SOC 2 CC7.2, PCI DSS 10.2, HIPAA 164.308(a)(1)(ii)(D)", Wants: func(ev *eventsv1.Event) bool { return ev.GetDecision().GetEffect() == record.Block }, Requests: true}
}

// Policies is which policies were changed.
func Policies() Report {
	return Report{Title: "Changes of policies", Asks: "SOC 2 CC8.1, 21 CFR 11.10(e), PCI DSS 10.2.7", Wants: func(ev *eventsv1.Event) bool { return ev.GetChange().GetKind() == "Policy" }}
}

// Access is who got or lost which right: every record that says so, and every change of what rights come from.
func Access() Report {
	return Report{Title: "Changes of access", Asks: "SOC 2 CC6.2 and CC6.3, HIPAA 164.308(a)(4)", Wants: func(ev *eventsv1.Event) bool {
		kinds := []string{"person", "group", "role", "agent", "tenant", "token", "relations", "resourcerelations", "relationsmodel"}
		return len(ev.GetGrants()) > 0 || slices.Contains(kinds, strings.ToLower(ev.GetChange().GetKind()))
	}}
}

// AccessAsOf is who had which right at an instant.
func AccessAsOf() Report {
	return Report{Title: "Access as of an instant", Asks: Access().Asks}
}

// Cover is what a report says of itself.
type Cover struct {
	Report     Report
	Filter     base.Filter
	Made       time.Time
	By         string
	Origin     string
	Size       int64
	Checkpoint string
	// AsOf is the instant that a review is of; zero for a report of a period. First is the tenant's first record before it, Unsure what is not certain.
	AsOf   time.Time
	First  string
	Unsure []string
}

// Facts are the lines at the head of a report: name and text.
func (c Cover) Facts() [][2]string {
	from, to := "the first record", "the last record"
	if !c.Filter.Since.IsZero() {
		from = c.Filter.Since.UTC().Format(time.RFC3339)
	}
	if !c.Filter.Until.IsZero() {
		to = c.Filter.Until.UTC().Format(time.RFC3339)
	}
	var narrowed []string
	all := c.Filter.Map()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != "since" && name != "until" {
			narrowed = append(narrowed, name+" "+all[name])
		}
	}
	if len(narrowed) == 0 {
		narrowed = []string{"none"}
	}
	facts := [][2]string{
		{"Report", c.Report.Title}, {"Asked for by", c.Report.Asks}, {"Period", "from " + from + " to " + to}, {"Filter", strings.Join(narrowed, ", ")},
		{"Made", c.Made.UTC().Format(time.RFC3339) + " by " + c.By},
	}
	if c.Filter.Own {
		facts = append(facts, [2]string{"Left out", "Calls of what the person was told does not exist; who may read others' records finds them."})
	}
	if !c.AsOf.IsZero() {
		facts[2] = [2]string{"As of", c.AsOf.UTC().Format(time.RFC3339)}
		return append(facts, c.reviewed()...)
	}
	facts = append(facts, [2]string{"Completeness", fmt.Sprintf("Every record that fits period and filter among the first %d of the log %s, as its checkpoint below signs them. Started records are left out: each call has a final one. "+
		"Check with headgate audit export and headgate audit verify.", c.Size, c.Origin)})
	if c.Report.Subject != "" {
		facts = append(facts, [2]string{"Subject", c.Report.Subject + ". Calls that were made are found by the id of its key in their record, also when the key was erased. Calls of tools whose recording (spec.record, spec.toolRecord) names no such subject are not among them."})
	}
	return facts
}

// reviewed are the facts of a review: what it rests on, and what it cannot know.
func (c Cover) reviewed() [][2]string {
	facts := [][2]string{{"Completeness", fmt.Sprintf("Every right that the changes of people, groups, roles, agents and block lists before this instant gave and did not take, among the first %d records of the log %s, "+
		"as its checkpoint below signs them. Check with headgate audit export and headgate audit verify.", c.Size, c.Origin)}}
	from := "The log has no record of this tenant from before it: who had which right is not known."
	if c.First != "" {
		from = "The tenant's first record (" + c.First + "). What was given before it and was not changed since is not known, and is not here; neither is a department or team that somebody was in since before records named these."
	}
	facts = append(facts, [2]string{"Derived from", from},
		[2]string{"Not in it", "Who owned, might change, see or approve resources of applications; relations that somebody put into OpenFGA past the directory; what policies allowed or refused. A change that was recorded and then broke off counts as made until the next one of the same resource. Who has no right sign in could use none of theirs."})
	for _, what := range c.Unsure {
		facts = append(facts, [2]string{"Not certain", what})
	}
	return facts
}

// counted is what the rows are.
func (c Cover) counted() string {
	if c.AsOf.IsZero() {
		return "records"
	}
	return "rights"
}

// Count is how much a report has. One record may stand for many requests that were refused alike.
type Count struct{ Records, Requests int64 }

// Add counts one record.
func (c *Count) Add(ev *eventsv1.Event) {
	c.Records++
	c.Requests += max(1, ev.GetRepeats())
}

// Layout is a form of a report: head, a row a record or a right, and an end that says how many there were.
type Layout struct {
	columns []column
	head    func(c Cover, names []string) ([]byte, error)
	row     func(cells []string) ([]byte, error)
	End     func(c Cover, count Count) ([]byte, error)
}

// Head is what stands before the rows.
func (l Layout) Head(c Cover) ([]byte, error) {
	if !c.AsOf.IsZero() {
		return l.head(c, heldNames())
	}
	var names []string
	for _, column := range l.columns {
		names = append(names, column.name)
	}
	return l.head(c, names)
}

// Line is the row of a record.
func (l Layout) Line(ev *eventsv1.Event) ([]byte, error) {
	var cells []string
	for _, column := range l.columns {
		cells = append(cells, column.value(ev))
	}
	return l.row(cells)
}

// Right is the row of a right.
func (l Layout) Right(h Held) ([]byte, error) { return l.row(h.cells()) }

// Table is a report for spreadsheets: its facts, two cells a line, and then the records as CSV has them.
func Table() Layout {
	return Layout{
		columns: columns(),
		head: func(c Cover, names []string) ([]byte, error) {
			var out []byte
			for _, fact := range append(c.Facts(), [2]string{"Checkpoint", c.Checkpoint}) {
				text, err := csvLine([]string{fact[0], cell(fact[1])})
				if err != nil {
					return nil, err
				}
				out = append(out, text...)
			}
			line, err := csvLine(names)
			return append(append(out, '\n'), line...), err
		},
		row: func(cells []string) ([]byte, error) {
			for i := range cells {
				cells[i] = cell(cells[i])
			}
			return csvLine(cells)
		},
		End: func(c Cover, count Count) ([]byte, error) {
			records, err := csvLine([]string{strings.ToUpper(c.counted()[:1]) + c.counted()[1:], fmt.Sprint(count.Records)})
			if err != nil || !c.Report.Requests {
				return records, err
			}
			requests, err := csvLine([]string{"Requests", fmt.Sprint(count.Requests)})
			return append(records, requests...), err
		},
	}
}

const pageStyle = `body{font:10pt/1.4 sans-serif;margin:2em;color:#111}h1{font-size:16pt}dl{display:grid;grid-template-columns:9em 1fr;gap:.2em 1em}dt{font-weight:bold}dd{margin:0}` +
	`table{border-collapse:collapse;width:100%;font-size:8pt}th,td{border:1px solid #999;padding:.2em .4em;text-align:left;vertical-align:top;overflow-wrap:anywhere}thead{display:table-header-group}` +
	`tr{break-inside:avoid}pre{font-size:8pt;white-space:pre-wrap;overflow-wrap:anywhere}@page{size:A4 landscape;margin:1.5cm}@media print{body{margin:0}}`

// Page is a report as one HTML page that asks for nothing from elsewhere and prints well.
func Page() Layout {
	head := template.Must(template.New("head").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title><style>` + pageStyle + `</style></head><body><h1>{{.Title}}</h1><dl>
{{range .Facts}}<dt>{{index . 0}}</dt><dd>{{index . 1}}</dd>
{{end}}</dl><table><thead><tr>{{range .Names}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
`))
	row := template.Must(template.New("row").Parse("<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>\n"))
	end := template.Must(template.New("end").Parse(`</tbody></table><p>{{.Count.Records}} {{.Counted}}{{if .Requests}} of {{.Count.Requests}} requests{{end}}.</p><h2>Checkpoint</h2><pre>{{.Checkpoint}}</pre></body></html>
`))
	return Layout{
		columns: pageColumns(),
		head: func(c Cover, names []string) ([]byte, error) {
			return fill(head, map[string]any{"Title": c.Report.Title, "Facts": c.Facts(), "Names": names})
		},
		row: func(cells []string) ([]byte, error) {
			for i := range cells {
				cells[i] = seen(cells[i])
			}
			return fill(row, cells)
		},
		End: func(c Cover, count Count) ([]byte, error) {
			return fill(end, map[string]any{"Count": count, "Counted": c.counted(), "Requests": c.Report.Requests, "Checkpoint": c.Checkpoint})
		},
	}
}

func fill(t *template.Template, data any) ([]byte, error) {
	var b bytes.Buffer
	err := t.Execute(&b, data)
	return b.Bytes(), err
}

// seen shows what nobody would see, so that text cannot pass for other text.
func seen(text string) string { return hidden.Shown(strings.ToValidUTF8(text, "\uFFFD")) }

// pageColumns are what fits on a page.
func pageColumns() []column {
	return []column{
		{"Time (UTC)", func(ev *eventsv1.Event) string { return ev.GetTime().AsTime().UTC().Format("2006-01-02 15:04:05.000") }},
		{"Action", (*eventsv1.Event).GetAction},
		{"Outcome", record.Outcome},
		{"Person", record.PersonOf},
		{"Agent", func(ev *eventsv1.Event) string { return ev.GetPrincipal().GetAgent() }},
		{"Server", func(ev *eventsv1.Event) string { return ev.GetTarget().GetServer() }},
		{"Tool or resource", func(ev *eventsv1.Event) string {
			return strings.TrimSpace(ev.GetTarget().GetTool() + " " + ev.GetTarget().GetResource())
		}},
		{"Effect", func(ev *eventsv1.Event) string { return ev.GetDecision().GetEffect() }},
		{"Rule", func(ev *eventsv1.Event) string { return ev.GetDecision().GetRule() }},
		{"Change", func(ev *eventsv1.Event) string {
			c := ev.GetChange()
			said := []string{strings.TrimSpace(c.GetAction() + " " + c.GetKind() + " " + c.GetName())}
			for _, what := range []string{record.GrantTaken, record.GrantGiven, record.GrantChanged} {
				if moved := rights(ev, what); moved != "" {
					said = append(said, what+": "+moved)
				}
			}
			return strings.TrimPrefix(strings.Join(said, "; "), "; ")
		}},
		{"Reason", record.Reason},
		{"Repeats", func(ev *eventsv1.Event) string { return positive(ev.GetRepeats()) }},
		{"Event", (*eventsv1.Event).GetId},
	}
}
