package dev

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// diagnostics serves metrics, health and profiles on a port of their own.
func (s *suite) diagnostics() http.Handler {
	registry := s.registry
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range s.cells() {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_journal_written_records", Help: "Last sequence number in the journal.",
			ConstLabels: prometheus.Labels{"service": c.name}}, func() float64 { return float64(c.journal.Status().Written) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_journal_shipped_records", Help: "Last sequence number that the broker acknowledged.",
				ConstLabels: prometheus.Labels{"service": c.name}}, func() float64 { return float64(c.journal.Status().Shipped) }))
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("/readyz", s.ready)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	return mux
}
