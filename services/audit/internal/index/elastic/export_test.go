package elastic

import (
	"time"

	"headgate.dev/services/audit/internal/index"
)

// Document is what is stored of a record.
func Document(cfg Config, r index.Record) ([]byte, error) {
	return cfg.withDefaults().document(r, 1, time.Unix(1_790_000_000, 0))
}
