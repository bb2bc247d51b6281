package api

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// metricsWindow is over which rates are averaged. It is no shorter than what a scrape
// each 15 s would miss.
const metricsWindow = 15 * time.Second

// metricsPatience bounds what a scrape waits for the store: well below the 10 s after
// which Prometheus gives one up by default, so that what the engine knows is told while
// etcd can't be reached.
const metricsPatience = 2 * time.Second

// registerMetrics serves what the controller knows to Prometheus (text format 0.0.4, or
// OpenMetrics 1.0.0 when that is asked for). Names end with their unit, and counters with
// "total", as OpenMetrics has it.
func (s *Server) registerMetrics() {
	r := prometheus.NewRegistry()
	r.MustRegister(metrics{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: metricsLog{s}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2, EnableOpenMetrics: true}))
}

// metricsLog takes what goes wrong while metrics are gathered.
type metricsLog struct{ s *Server }

// Println implements promhttp.Logger.
func (l metricsLog) Println(v ...any) { l.s.log.Error("metrics", "err", v) }

// metrics collects from the engine and the store when it is asked.
type metrics struct{ s *Server }

// metric is a family of one type and its labels.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("weft_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("weft_"+name+"_total", help, labels, nil), prometheus.CounterValue}
}

// The families. A series is there while something is known: of a switch, while its agent
// reports.
var (
	buildInfo    = gauge("build_info", "The program; the value is 1.", "version", "commit")
	isReady      = gauge("ready", "1 when the intent is loaded.")
	objectCount  = gauge("objects", "Objects by what devices say of them.", "kind", "phase")
	alarmCount   = gauge("alarms", "Alarms that last.", "device", "reason")
	storeSize    = gauge("store_size_bytes", "Data of etcd's largest member.")
	storeQuota   = gauge("store_quota_bytes", "What that may grow to; 0 when etcd does not tell.")
	storeTrouble = gauge("store_problems", "What is wrong with the store; /healthz has the sentences.")

	switchUp      = gauge("switch_up", "1 when the switch's agent reports; switches that are Node objects.", "switch", "role")
	portUp        = gauge("port_up", "1 when the port has a carrier.", "switch", "port")
	portSent      = counter("port_transmit_bytes", "Bytes that the port sent.", "switch", "port")
	portReceived  = counter("port_receive_bytes", "Bytes that the port received.", "switch", "port")
	portSentN     = counter("port_transmit_packets", "Packets that the port sent.", "switch", "port")
	portReceivedN = counter("port_receive_packets", "Packets that the port received.", "switch", "port")
	portDropped   = counter("port_dropped_packets", "Packets that the port dropped.", "switch", "port", "direction")
	portErrors    = counter("port_errors", "Packets that the port could not send or receive.", "switch", "port", "direction")
	bgpUp         = gauge("bgp_session_up", "1 when the session is Established.", "switch", "peer")
	bgpPrefixes   = gauge("bgp_session_prefixes", "Prefixes accepted from the peer.", "switch", "peer")
	bfdUp         = gauge("bfd_session_up", "1 when the session is up.", "switch", "peer", "port")
	isisUp        = gauge("isis_adjacency_up", "1 when the adjacency is Up.", "switch", "port", "neighbour")

	linkRate     = gauge("link_bytes_per_second", "What this direction of a link between switches carries.", "from", "from_port", "to", "to_port")
	linkCapacity = gauge("link_capacity_bytes_per_second", "Capacity of the link.", "from", "from_port", "to", "to_port")
	linkUsed     = gauge("link_utilisation_ratio", "Part of the capacity that is used.", "from", "from_port", "to", "to_port")
	linkDrops    = gauge("link_dropped_packets_per_second", "Packets dropped at both ends and in front of the link.", "from", "from_port", "to", "to_port")
	spineShare   = gauge("tier_share_ratio", "Part of what its tier gets from below that this switch gets.", "switch")
	leafTraffic  = gauge("tunnel_bytes_per_second", "What a tenant's tunnels carry from a VTEP; /v1/fabric/matrix has each pair.", "from", "tenant")
	unknownRate  = gauge("tunnel_unknown_bytes_per_second", "Tunnelled traffic between addresses that are no VTEP's.")
	steerBefore  = gauge("steering_utilisation_ratio", "Highest utilisation of a link by the averaged demand, before and after the optimiser's last step, and what could be reached.", "of")
	steered      = gauge("steering_cells", "Cells of the traffic matrix that the optimiser has off ECMP.")
)

// counted are the kinds whose objects are counted by phase. Ports are not, nor are
// networks and routers, whose phase follows from that of each of their ports: with a
// million of them a scrape would cost too much. A network says how many are Ready.
var counted = []intent.Kind{intent.KindNode, intent.KindFabric, intent.KindSteeringPolicy, intent.KindInterconnect, intent.KindExternalNetwork}

// Describe implements prometheus.Collector: an empty one is checked at each scrape.
func (m metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	c := collecting{ch}
	c.put(buildInfo, 1, m.s.cfg.Version, m.s.cfg.Commit)
	c.put(isReady, truth(m.s.cfg.Status.Ready() == nil))
	type about struct{ device, reason string }
	alarms := map[about]int{}
	for _, a := range m.s.cfg.Status.Alarms() {
		alarms[about{a.Device, a.Reason}]++
	}
	for a, n := range alarms {
		c.put(alarmCount, float64(n), a.device, a.reason)
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(metricsPatience, m.s.cfg.StoreTimeout))
	defer cancel()
	m.store(ctx, c)
	m.switches(c, time.Now())
	m.load(c)
}

// store tells of objects and of etcd; what can't be read is left out.
func (m metrics) store(ctx context.Context, c collecting) {
	for _, k := range counted {
		l, err := m.s.cfg.Store.List(ctx, k, store.ListOptions{})
		if err != nil {
			continue
		}
		phases := map[intent.Phase]int{intent.PhaseReady: 0, intent.PhasePending: 0, intent.PhaseDegraded: 0, intent.PhaseFailed: 0}
		for _, o := range l.Objects {
			if st := m.s.cfg.Status.Status(o); st != nil && st.Phase != "" {
				phases[st.Phase]++
			}
		}
		for p, n := range phases {
			c.put(objectCount, float64(n), string(k), string(p))
		}
	}
	if h, err := m.s.cfg.Store.Health(ctx); err == nil {
		c.put(storeSize, float64(h.Size))
		c.put(storeQuota, float64(h.Quota))
		c.put(storeTrouble, float64(len(h.Problems)))
	}
}

// switches tells of those whose agents report, and of the nodes whose agents do not. What
// an agent said of routing goes when it says that no longer, though it says the rest.
func (m metrics) switches(c collecting, now time.Time) {
	silent := m.s.cfg.Status.Switches()
	for _, r := range m.s.cfg.Status.Reporting() {
		delete(silent, r.Node)
		c.put(switchUp, 1, r.Node, string(r.Role))
		for _, p := range r.Ports {
			c.port(r.Node, p)
		}
		if routing, at, ok := m.s.cfg.Status.Routing(r.Node); ok && now.Sub(at) <= engine.SilentAfter {
			c.sessions(r.Node, routing)
		}
	}
	for node, role := range silent {
		c.put(switchUp, 0, node, string(role))
	}
}

// load tells what links and tunnels carry, and what the optimiser did.
func (m metrics) load(c collecting) {
	l := m.s.cfg.Status.Load(metricsWindow)
	for _, x := range l.Links {
		if !x.Seen {
			continue
		}
		labels := []string{x.From.Node, x.From.Interface, x.To.Node, x.To.Interface}
		c.put(linkRate, x.Rate/8, labels...)
		c.put(linkDrops, x.Dropped, labels...)
		if x.Capacity > 0 {
			c.put(linkCapacity, x.Capacity/8, labels...)
			c.put(linkUsed, x.Utilisation, labels...)
		}
	}
	for _, x := range l.Shares {
		c.put(spineShare, x.Part, x.Node)
	}
	type sender struct{ from, tenant string }
	sent := map[sender]float64{}
	matrix := m.s.cfg.Status.Matrix(metricsWindow)
	for _, x := range matrix.Cells {
		sent[sender{x.From, x.Tenant}] += x.Rate
	}
	for x, rate := range sent {
		c.put(leafTraffic, rate/8, x.from, x.tenant)
	}
	c.put(unknownRate, matrix.Unknown/8)
	if x := m.s.cfg.Status.Choice(); x.Active {
		c.put(steerBefore, x.Before, "before")
		c.put(steerBefore, x.After, "after")
		c.put(steerBefore, x.Target, "target")
		c.put(steered, float64(x.Steered))
	}
}

// collecting takes values.
type collecting struct{ ch chan<- prometheus.Metric }

func (c collecting) put(m metric, v float64, labels ...string) {
	c.ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c collecting) port(node string, p switchstate.Port) {
	c.put(portUp, truth(p.Up), node, p.Name)
	n := p.Counters
	c.put(portSent, float64(n.TxBytes), node, p.Name)
	c.put(portReceived, float64(n.RxBytes), node, p.Name)
	c.put(portSentN, float64(n.TxPackets), node, p.Name)
	c.put(portReceivedN, float64(n.RxPackets), node, p.Name)
	c.put(portDropped, float64(n.TxDropped), node, p.Name, "transmit")
	c.put(portDropped, float64(n.RxDropped), node, p.Name, "receive")
	c.put(portErrors, float64(n.TxErrors), node, p.Name, "transmit")
	c.put(portErrors, float64(n.RxErrors), node, p.Name, "receive")
}

func (c collecting) sessions(node string, r switchstate.Routing) {
	for _, x := range r.BGP {
		c.put(bgpUp, truth(x.State == switchstate.Established), node, x.Peer)
		c.put(bgpPrefixes, float64(x.Prefixes), node, x.Peer)
	}
	for _, x := range r.BFD {
		c.put(bfdUp, truth(x.State == "up"), node, x.Peer, x.Interface)
	}
	for _, x := range r.ISIS {
		c.put(isisUp, truth(x.State == "Up"), node, x.Interface, x.Neighbour)
	}
}
