package netboot

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"imgbuild/netboot/state"
)

// metrics are for Prometheus. Nodes are counted by stage: what one of them does is
// the page's.
type metrics struct {
	registry  *prometheus.Registry
	refused   prometheus.Counter
	requests  *prometheus.CounterVec
	downloads prometheus.Gauge
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imgbuild_claims_refused_total", Help: "Claims for secrets that were refused since the server started.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imgbuild_https_requests_total", Help: "Requests over TLS since the server started, by status.",
		}, []string{"code"}),
		downloads: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "imgbuild_downloads", Help: "Files of images that are being sent now.",
		}),
	}
	m.registry.MustRegister(m.refused, m.requests, m.downloads, stages{s})
	return m
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// count must not be between a file and its connection: the kernel would not send it
// by itself any more.
func (m *metrics) count(h http.Handler) http.Handler {
	return promhttp.InstrumentHandlerCounter(m.requests, h)
}

// stages reads the nodes' when somebody asks.
type stages struct{ server *Server }

var (
	nodesDesc  = prometheus.NewDesc("imgbuild_nodes", "Nodes of cluster.yaml by stage.", []string{"stage"}, nil)
	alarmsDesc = prometheus.NewDesc("imgbuild_alarms", "Alarms that are remembered, by node.", []string{"node"}, nil)
	othersDesc = prometheus.NewDesc("imgbuild_strangers", "Machines that have asked and are not in cluster.yaml.", nil, nil)
)

func (c stages) Describe(out chan<- *prometheus.Desc) {
	out <- nodesDesc
	out <- alarmsDesc
	out <- othersDesc
}

func (c stages) Collect(out chan<- prometheus.Metric) {
	v, err := c.server.View()
	if err != nil {
		out <- prometheus.NewInvalidMetric(nodesDesc, err)
		return
	}
	count := map[state.Stage]int{}
	for _, n := range v.Nodes {
		count[n.Stage]++
		out <- prometheus.MustNewConstMetric(alarmsDesc, prometheus.GaugeValue, float64(len(n.Alarms)), n.Name)
	}
	for _, stage := range state.Stages() {
		out <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(count[stage]), string(stage))
	}
	out <- prometheus.MustNewConstMetric(othersDesc, prometheus.GaugeValue, float64(len(v.Strangers)))
}
