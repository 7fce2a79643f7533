package elastic

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"path"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// schemaVersion is that of the mapping in files. It rises with every change of it.
const schemaVersion = 4

// The kinds of things that are installed, each a folder of files.
const (
	lifecycle = "ilm_policy"
	pipeline  = "ingest_pipeline"
	component = "component_template"
	template  = "index_template"
	role      = "security_role"
	apiKey    = "api_key"
)

//go:embed files
var files embed.FS

// Part is one thing that is installed in a cluster.
type Part struct {
	// Kind is the folder that it comes from.
	Kind string
	Name string
	Body []byte
}

// Request is the method and the path with which it is put there.
func (p Part) Request() (method, path string) {
	switch p.Kind {
	case lifecycle:
		return "PUT", "_ilm/policy/" + p.Name
	case pipeline:
		return "PUT", "_ingest/pipeline/" + p.Name
	case role:
		return "PUT", "_security/role/" + p.Name
	case apiKey:
		return "POST", "_security/api_key"
	default:
		return "PUT", "_" + p.Kind + "/" + p.Name
	}
}

// Parts lists what is installed, in the order in which one thing needs the other, and last the keys, which are for a person to make.
func Parts(cfg Config) ([]Part, error) {
	cfg = cfg.withDefaults()
	var out []Part
	for _, kind := range []string{lifecycle, pipeline, component, template, role, apiKey} {
		dir := path.Join("files", kind)
		entries, err := fs.ReadDir(files, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			body, err := files.ReadFile(path.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			name := strings.TrimSuffix(e.Name(), ".json")
			out = append(out, Part{Kind: kind, Name: cfg.named(name), Body: []byte(cfg.named(string(body)))})
		}
	}
	return out, nil
}

// named puts the installation's name where the files say headgate.audit and headgate.anomaly.
func (c Config) named(text string) string {
	return strings.NewReplacer(DefaultName+".audit", c.Name+".audit", DefaultName+".anomaly", c.Name+".anomaly").Replace(text)
}

// Install puts everything into the cluster. To do it again changes nothing, and what a later version of Headgate put there is left alone and refused. What
// the cluster lacks is said by say, one sentence each; the rest is put there without it.
func Install(ctx context.Context, cfg Config, say func(sentence string)) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	client, wire, err := cfg.client()
	if err != nil {
		return err
	}
	defer wire.CloseIdleConnections()
	parts, err := Parts(cfg)
	if err != nil {
		return err
	}
	c := &cluster{cfg: cfg, client: client, say: say}
	if err := c.look(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		if err := c.put(ctx, p); err != nil {
			return err
		}
	}
	return c.streams(ctx)
}

// look finds out what is there.
func (c *cluster) look(ctx context.Context) error {
	body, err := c.ask(ctx, "GET", "_component_template/"+c.cfg.named("headgate.audit@mappings"), nil)
	if err != nil && !is(err, 404) {
		return err
	}
	var found struct {
		Templates []struct {
			Template struct {
				Meta struct {
					Version int `json:"version"`
				} `json:"_meta"`
			} `json:"component_template"`
		} `json:"component_templates"`
	}
	if err == nil && json.Unmarshal(body, &found) == nil && len(found.Templates) == 1 && found.Templates[0].Template.Meta.Version > schemaVersion {
		return fault.New(faultv1.Reason_REASON_CONFLICT,
			"Elasticsearch has the mapping of version %d, and this version of Headgate would put %d. Install with the latest version of Headgate that uses this cluster.",
			found.Templates[0].Template.Meta.Version, schemaVersion)
	}
	return c.processors(ctx)
}

// processors asks which ingest processors every node has. A key that may not ask is told by the cluster itself what is missing.
func (c *cluster) processors(ctx context.Context) error {
	body, err := c.ask(ctx, "GET", "_nodes/ingest", nil)
	if is(err, 403) {
		return nil
	}
	if err != nil {
		return err
	}
	var said struct {
		Nodes map[string]struct {
			Ingest struct {
				Processors []struct {
					Type string `json:"type"`
				} `json:"processors"`
			} `json:"ingest"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Elasticsearch does not say which ingest processors it has. Check that elasticsearch.addresses name Elasticsearch 8.").Because(err)
	}
	c.known = map[string]int{}
	for _, n := range said.Nodes {
		for _, p := range n.Ingest.Processors {
			c.known[p.Type]++
		}
	}
	c.nodes = len(said.Nodes)
	return nil
}

// put installs one part as far as the cluster can hold it.
func (c *cluster) put(ctx context.Context, p Part) error {
	switch p.Kind {
	case apiKey: // a secret comes back: a person makes it
		return nil
	case pipeline:
		return c.putPipeline(ctx, p)
	case lifecycle:
		err := c.send(ctx, p)
		if unknownRoute(err) {
			c.withoutLifecycle = true
			c.say("This cluster has no index lifecycle management. The lifecycle of data streams is set instead, which Elasticsearch 8.14 and later keep: nothing else begins a new index or deletes an old one.")
			return nil
		}
		return err
	case role:
		return c.putRole(ctx, p)
	case component:
		return c.putComponent(ctx, p)
	default:
		return c.send(ctx, p)
	}
}

func (c *cluster) putComponent(ctx context.Context, p Part) error {
	switch {
	case strings.HasSuffix(p.Name, "@lifecycle") && c.withoutLifecycle:
		p.Body = []byte(`{"_meta": {"managed_by": "headgate", "version": 4}, "template": {"lifecycle": {"data_retention": "2282d"}}}`)
	case strings.HasSuffix(p.Name, "@ingest") && c.withoutPipeline:
		p.Body = []byte(`{"_meta": {"managed_by": "headgate", "version": 4}, "template": {}}`)
	}
	err := c.send(ctx, p)
	if lacks(err, "constant_keyword") {
		c.say(p.Name + ": this cluster has no field type constant_keyword (a basic feature of Elasticsearch's own distribution); keyword is used instead.")
		p.Body = bytes.ReplaceAll(p.Body, []byte(`"constant_keyword"`), []byte(`"keyword"`))
		err = c.send(ctx, p)
	}
	if strings.HasSuffix(p.Name, "@mappings") {
		c.mappings = p.Body
	}
	return err
}

// putPipeline puts the pipeline without the processors that a node lacks; one that cannot say when a record arrived is no use.
func (c *cluster) putPipeline(ctx context.Context, p Part) error {
	var body map[string]any
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return err
	}
	if !c.has("set") || !c.has("append") {
		c.withoutPipeline = true
		c.say("This cluster has no ingest processors set and append, so there is no pipeline: event.ingested is when audit sent a record, and no country is added.")
		return nil
	}
	processors, _ := body["processors"].([]any)
	kept := make([]any, 0, len(processors))
	for _, one := range processors {
		named, _ := one.(map[string]any)
		for kind := range named {
			if c.has(kind) {
				kept = append(kept, one)
			} else {
				c.say(p.Name + ": a node of this cluster has no ingest processor " + kind + "; the pipeline does without.")
			}
		}
	}
	body["processors"] = kept
	shorter, err := json.Marshal(body)
	if err != nil {
		return err
	}
	p.Body = shorter
	return c.send(ctx, p)
}

func (c *cluster) has(processor string) bool { return c.known == nil || c.known[processor] == c.nodes }

func (c *cluster) putRole(ctx context.Context, p Part) error {
	if c.withoutRoles {
		return nil
	}
	err := c.send(ctx, p)
	switch {
	case unknownRoute(err):
		c.withoutRoles = true
		c.say("This cluster has no security: whoever reaches it reads and writes every record. Turn xpack.security on, or let nobody but audit reach it.")
		return nil
	case is(err, 403):
		c.withoutRoles = true
		c.say("The roles were not put: this key may not manage security. Put them yourself (headgate audit install --print), or leave them: API keys carry their own rights.")
		return nil
	default:
		return err
	}
}

// streams makes the data streams of records that belong to no tenant: by one of them the service sees that all this was installed. Data streams that were
// there before get the fields that are new; where that cannot be, the next record begins a new index.
func (c *cluster) streams(ctx context.Context) error {
	for _, dataset := range []string{c.cfg.dataset(), c.cfg.anomalies().dataset()} {
		if _, err := c.ask(ctx, "PUT", "_data_stream/logs-"+dataset+"-"+record.Namespace(""), nil); err != nil && !exists(err) {
			return err
		}
	}
	var of struct {
		Template struct {
			Mappings json.RawMessage `json:"mappings"`
		} `json:"template"`
	}
	if err := json.Unmarshal(c.mappings, &of); err != nil {
		return err
	}
	for _, dataset := range []string{c.cfg.dataset(), c.cfg.anomalies().dataset()} {
		_, err := c.ask(ctx, "PUT", "logs-"+dataset+"-*/_mapping?write_index_only=true", of.Template.Mappings)
		if is(err, 400) {
			err = c.renew(ctx, "logs-"+dataset+"-*")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// renew begins a new index in each data stream, with the new mapping.
func (c *cluster) renew(ctx context.Context, pattern string) error {
	body, err := c.ask(ctx, "GET", "_data_stream/"+pattern, nil)
	if err != nil {
		return err
	}
	var said struct {
		Streams []struct {
			Name string `json:"name"`
		} `json:"data_streams"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return err
	}
	for _, s := range said.Streams {
		c.say(cmp.Or(s.Name, pattern) + ": the fields that it has do not allow the new ones; a new index is begun, and the old ones stay as they are.")
		if _, err := c.ask(ctx, "POST", s.Name+"/_rollover", nil); err != nil {
			return err
		}
	}
	return nil
}
