package demo

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/url"
	"text/template"
)

//go:embed seed.yaml
var seedText string

// Seed answers the demo tenant as resources in YAML: people, roles, servers at the given URLs, connections with the servers' credentials, policies.
func Seed(servers []*Server, urls map[string]string) ([]byte, error) {
	secrets := map[string]string{}
	for _, s := range servers {
		secrets[s.Name] = s.Secret
	}
	t, err := template.New("seed.yaml").Funcs(template.FuncMap{
		"url": func(name string) (string, error) {
			if urls[name] == "" {
				return "", fmt.Errorf("there is no URL of the demo server %q", name)
			}
			return urls[name], nil
		},
		"host": func(name string) (string, error) {
			u, err := url.Parse(urls[name])
			if err != nil || u.Host == "" {
				return "", fmt.Errorf("the URL of the demo server %q has no host", name)
			}
			return u.Host, nil
		},
		"secret": func(name string) (string, error) {
			if secrets[name] == "" {
				return "", fmt.Errorf("the demo server %q has no credential", name)
			}
			return secrets[name], nil
		},
	}).Parse(seedText)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, nil); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
