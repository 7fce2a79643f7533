package arch

import (
	"fmt"
	"os/exec"
	"path"
	"strings"
)

// Imports lists arrows that point the wrong way: proto ← libs ← services/<name>/internal ← services/<name> ← cmd and services/headgate.
func Imports(f File) []string {
	var broken []string
	for _, spec := range f.AST.Imports {
		to := strings.Trim(spec.Path.Value, `"`)
		if why := forbidden(f.Path, to); why != "" {
			broken = append(broken, fmt.Sprintf("%s imports %s: %s", f.Path, to, why))
		}
	}
	return broken
}

func forbidden(from, to string) string {
	module, _, _ := strings.Cut(from, "/")
	switch {
	case module == "proto" && within(to, "headgate.dev/libs", "headgate.dev/services", "headgate.dev/tools"):
		return "proto knows nothing above it"
	case module == "libs" && within(to, "headgate.dev/services", "headgate.dev/tools"):
		return "libs know no service"
	case module == "services" && within(to, "headgate.dev/tools"):
		return "services know no tool"
	case module == "services" && strings.HasPrefix(to, "headgate.dev/services/"):
		mine, theirs := service(from), service(strings.TrimPrefix(to, "headgate.dev/"))
		if mine != theirs && mine != "headgate" {
			return "services never import each other"
		}
		if mine == "headgate" && mine != theirs && to != "headgate.dev/services/"+theirs {
			return "the people's binary sees a service only from outside"
		}
	case module != "libs" && strings.HasPrefix(to, "net/http/httptest") && !strings.HasSuffix(from, "_test.go") && module != "tools":
		return "test servers stay in tests"
	}
	return ""
}

func within(path string, roots ...string) bool {
	for _, root := range roots {
		if path == root || strings.HasPrefix(path, root+"/") {
			return true
		}
	}
	return false
}

func service(rel string) string {
	parts := strings.Split(rel, "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// Linked lists the packages that a binary links.
func Linked(root, binary string) ([]string, error) {
	cmd := exec.Command("go", "list", "-deps", binary)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -deps %s: %w", binary, err)
	}
	return strings.Fields(string(out)), nil
}

// Never says which packages a service must never link. A compromised service cannot use what is not in it.
func Never() map[string][]string {
	// The drivers that stores are opened with. database/sql itself has none, and lib/pq comes with the SQL parser's error codes (docs/adr/003).
	sql := []string{"modernc.org/sqlite", "github.com/jackc/pgx", "github.com/pressly/goose", "headgate.dev/libs/sqlstore", "headgate.dev/libs/resourcestore"}
	search := []string{"github.com/elastic/go-elasticsearch", "github.com/elastic/elastic-transport-go", "github.com/opensearch-project"}
	kms := []string{"github.com/tink-crypto", "github.com/hashicorp/vault", "github.com/aws/aws-sdk-go-v2/service/kms", "github.com/aws/aws-sdk-go-v2/service/secretsmanager"}
	aws := []string{"github.com/aws"} // audit may, for the bucket of the ledger, and credentials
	fga := []string{"github.com/openfga"}
	broker := []string{"github.com/twmb/franz-go/pkg/kfake"}
	return map[string][]string{
		"edge":        join(sql, search, kms, fga, broker, aws),
		"identity":    join(search, kms, fga, broker, aws),
		"authz":       join(search, kms, broker, aws),
		"credentials": join(search, fga, broker),
		"trust":       join(search, kms, fga, broker, aws),
		"audit":       join(kms, fga, broker),
	}
}

func join(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// Matches reports whether pkg is one of the named packages or below one.
func Matches(pkg string, roots []string) bool {
	for _, root := range roots {
		if pkg == root || strings.HasPrefix(pkg, path.Clean(root)+"/") {
			return true
		}
	}
	return false
}
