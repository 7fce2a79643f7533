package ingest

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what consumers do. One serves all consumers of a process; nil counts nothing.
type Metrics struct {
	settled *prometheus.CounterVec
	letters *prometheus.CounterVec
	retries *prometheus.CounterVec
}

// NewMetrics registers the counters.
func NewMetrics(to prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_audit_records_total",
			Help: "Messages that a consumer is done with: stored, passed on or put aside."}, []string{"consumer"}),
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_audit_dead_letters_total",
			Help: "Messages that a consumer put aside because it can never use them."}, []string{"consumer", "class"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_audit_retries_total",
			Help: "How often a consumer had to try again to store, pass on or put aside."}, []string{"consumer"}),
	}
	for _, c := range []prometheus.Collector{m.settled, m.letters, m.retries} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) done(consumer string, count int) {
	if m != nil {
		m.settled.WithLabelValues(consumer).Add(float64(count))
	}
}

func (m *Metrics) aside(consumer, class string) {
	if m != nil {
		m.letters.WithLabelValues(consumer, class).Inc()
	}
}

func (m *Metrics) again(consumer string) {
	if m != nil {
		m.retries.WithLabelValues(consumer).Inc()
	}
}
