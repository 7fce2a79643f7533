package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/kafka"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func newTestService() *testService { return &testService{running: make(chan struct{})} }

func TestServicesRunTogetherAndTheirRecordsReachKafka(t *testing.T) {
	s := newSite(t)
	identity := s.start("identity", s.config("identity", ""), identityService{newTestService()})
	trust := s.start("trust", s.config("trust", "peers: {identity: \"https://"+identity.api+"\"}\n"), newTestService())

	for name, up := range map[string]*started{"identity": identity, "trust": trust} {
		who, err := s.client(up, "good").WhoAmI(t.Context(), connect.NewRequest(&identityv1.WhoAmIRequest{}))
		if err != nil || who.Msg.GetCaller().GetName() != "root" {
			t.Errorf("%s: %v, %v", name, who, err)
		}
		if _, err := s.client(up, "bad").WhoAmI(t.Context(), connect.NewRequest(&identityv1.WhoAmIRequest{})); !fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
			t.Errorf("%s with a bad token: %v", name, err)
		}
	}
	if _, err := s.client(trust, "good").Rotate(t.Context(), connect.NewRequest(&identityv1.RotateRequest{})); err != nil {
		t.Error(err)
	}
	code, text := get(t, "http://"+trust.diagnostics+"/readyz?verbose")
	for _, line := range []string{"[+] service: ready", "[+] journal: 4 records written", "[+] kafka: ", "[+] peer identity: answers"} {
		if code != http.StatusOK || !strings.Contains(text, line) {
			t.Errorf("readyz: %d without %q:\n%s", code, line, text)
		}
	}
	_, text = get(t, "http://"+trust.diagnostics+"/metrics")
	for _, name := range []string{"headgate_journal_written_records 4", "go_goroutines", "headgate_rpc_faults_total", "rpc_server_"} {
		if !strings.Contains(text, name) {
			t.Errorf("there is no metric %s", name)
		}
	}
	if code, _ := get(t, "http://"+trust.diagnostics+"/debug/pprof/"); code != http.StatusOK {
		t.Errorf("profiles: %d", code)
	}
	if err := trust.stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
	lives, events := map[string][]string{}, []*eventsv1.Event{}
	for _, ev := range s.shipped(func(all []*eventsv1.Event) bool { return len(all) == 7 }) { // both started with a first configuration, one was called and has stopped
		if ev.GetChange() != nil {
			lives[ev.GetService()] = append(lives[ev.GetService()], ev.GetAction())
		} else {
			events = append(events, ev)
		}
	}
	if got := fmt.Sprint(lives["trust"], lives["identity"]); got != "[service-started configuration-changed service-stopped] [service-started configuration-changed]" {
		t.Errorf("their lives are recorded as %s", got)
	}
	if len(events) != 2 || events[0].GetPhase() != eventsv1.Phase_PHASE_STARTED || events[1].GetPhase() != eventsv1.Phase_PHASE_FINAL ||
		events[1].GetService() != "trust" || events[1].GetPrincipal().GetPerson() != "root" || events[1].GetRequest().GetMethod() != "Rotate" {
		t.Errorf("in Kafka: %v", events)
	}
}

// shipped reads records from Kafka until they are enough.
func (s *site) shipped(enough func([]*eventsv1.Event) bool) []*eventsv1.Event {
	s.t.Helper()
	reader, err := kafka.NewReader(s.kafka, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	var events []*eventsv1.Event
	for !enough(events) {
		message, err := reader.FetchMessage(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		var ev eventsv1.Event
		if err := proto.Unmarshal(message.Value, &ev); err != nil {
			s.t.Fatal(err)
		}
		events = append(events, &ev)
	}
	return events
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	s := newSite(t)
	service := newTestService()
	service.missing = fault.New(faultv1.Reason_REASON_UNAVAILABLE, "There is no copy of trust yet.")
	up := s.start("identity", s.config("identity", ""), identityService{service})
	code, text := get(t, "http://"+up.diagnostics+"/readyz?verbose")
	if code != http.StatusServiceUnavailable || !strings.Contains(text, "[-] service: There is no copy of trust yet.\n    trust: stale for 3 s\n") {
		t.Errorf("readyz: %d %s", code, text)
	}
	if code, text = get(t, "http://"+up.diagnostics+"/readyz"); code != http.StatusServiceUnavailable || strings.Contains(text, "trust") {
		t.Errorf("readyz without verbose: %d %s", code, text)
	}
	if code, _ = get(t, "http://"+up.diagnostics+"/livez"); code != http.StatusOK {
		t.Errorf("livez: %d", code)
	}
}

func TestWhatIsInUseIsNamedBeforeAnythingStarts(t *testing.T) {
	s := newSite(t)
	file := s.config("identity", "")
	up := s.start("identity", file, identityService{newTestService()})
	build := func(ownConfig, Deps) (Service, error) {
		t.Error("the service was built")
		return nil, errors.New("built")
	}
	err := run(t.Context(), "identity", []string{"--config", file}, io.Discard, io.Discard, build)
	if err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("a journal in use: %v", err)
	}
	text := strings.Replace(s.read(s.config("identity", "")), "listen: 127.0.0.1:0", "listen: "+up.api, 1)
	err = run(t.Context(), "identity", []string{"--config", write(t, text)}, io.Discard, io.Discard, build)
	if err == nil || !strings.Contains(err.Error(), up.api) || !strings.Contains(err.Error(), "in use") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a port in use: %v", err)
	}
}

func TestAPartThatFailsEndsTheProcessWithItsReason(t *testing.T) {
	s := newSite(t)
	cases := map[string]struct {
		service func() Service
		build   error
		more    string
		want    string
	}{
		"run fails": {service: func() Service {
			broken := newTestService()
			broken.runError = errors.New("the database is gone")
			return identityService{broken}
		}, want: "the service failed: the database is gone"},
		"build fails": {build: errors.New("no database"), want: "no database"},
		"no peer for people's tokens": {
			service: func() Service { return newTestService() }, want: "peers.identity is missing",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), "trust", []string{"--config", s.config("trust", c.more)}, io.Discard, io.Discard, func(ownConfig, Deps) (Service, error) {
				if c.build != nil {
					return nil, c.build
				}
				return c.service(), nil
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("run: %v", err)
			}
		})
	}
}

func TestTheEndComesInOrder(t *testing.T) {
	asked, cancel := context.WithCancel(t.Context())
	st := newStages(asked)
	var order []string
	for _, name := range []string{"journal", "service", "server"} {
		st.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name)
			return nil
		})
	}
	cancel()
	if err := st.wait(func() { order = append(order, "asked") }); err != nil {
		t.Error(err)
	}
	if got := strings.Join(order, " "); got != "asked server service journal" {
		t.Errorf("it ended as: %s", got)
	}
	st = newStages(t.Context())
	st.start("journal", func(ctx context.Context) error { <-ctx.Done(); return nil })
	st.start("service", func(context.Context) error { return nil })
	if err := st.wait(func() {}); err == nil || err.Error() != "service ended by itself" {
		t.Errorf("a part that ends unasked: %v", err)
	}
}

func TestAnUnreachablePeerAndKafkaAreListed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.kafka.Brokers = []string{nobody}
	up := s.start("trust", s.config("trust", "peers: {identity: \"https://"+nobody+"\"}\n"), newTestService())
	code, text := get(t, "http://"+up.diagnostics+"/readyz?verbose")
	if code != http.StatusOK || !strings.Contains(text, "[-] kafka: ") || !strings.Contains(text, "[-] peer identity: ") {
		t.Errorf("readyz: %d %s", code, text)
	}
	_, err = s.client(up, "good").WhoAmI(t.Context(), connect.NewRequest(&identityv1.WhoAmIRequest{}))
	if !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), "identity does not answer") {
		t.Errorf("a person, while identity is away: %v", err)
	}
}

func TestT22AFloodAtTheAPIIsCountedAndNothingIsLostAtTheEnd(t *testing.T) {
	s := newSite(t)
	identity := s.start("identity", s.config("identity", ""), identityService{newTestService()})
	const flood = 300
	for _, token := range []string{"", "bad"} {
		client := s.stranger(identity, token)
		for range flood / 2 {
			_, err := client.Rotate(t.Context(), connect.NewRequest(&identityv1.RotateRequest{}))
			if !fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
				t.Fatal(err)
			}
		}
	}
	if err := identity.stop(); err != nil {
		t.Fatal(err)
	}
	events := s.shipped(func(all []*eventsv1.Event) bool { // of several partitions, so in any order
		_, requests := refusals(all)
		return requests >= flood && slices.ContainsFunc(all, func(ev *eventsv1.Event) bool { return ev.GetAction() == "service-stopped" })
	})
	if records, requests := refusals(events); requests != flood || records > flood/2 {
		t.Errorf("%d records of %d requests", records, requests)
	}
	for _, ev := range events {
		if ev.GetTenant() != "system" {
			t.Errorf("of tenant %q: %v", ev.GetTenant(), ev)
		}
	}
}

// refusals is how many calls records tell of, by how many records.
func refusals(events []*eventsv1.Event) (records, requests int64) {
	for _, ev := range events {
		if ev.GetAction() == "api-call" {
			records, requests = records+1, requests+max(1, ev.GetRepeats())
		}
	}
	return records, requests
}
