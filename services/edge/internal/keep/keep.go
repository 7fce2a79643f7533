// Package keep makes the copies of arguments and results that the record holds where a tenant asks for more than keyed hashes: redacted ones, and sealed
// ones for which it knows the public keys alone.
package keep

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/sealed"
	"headgate.dev/libs/secret/shapes"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/edge/internal/flight"
	"headgate.dev/services/edge/internal/guard"
)

const (
	redacted = "redacted"
	closed   = "sealed"

	// patience bounds one question to the audit service.
	patience = 5 * time.Second
	// lasting is how long a key is used before it is asked for again: after so long, what is sealed for an erased subject can be read again, with a new key.
	lasting = 5 * time.Minute
	// remembered is how many keys are in hand.
	remembered = 50_000
	// MaxCopy is the longest document of which there is a copy, in bytes: two of them leave room for the rest of a record.
	MaxCopy = 128 << 10
	// longestSubject is the longest name of one, in bytes.
	longestSubject = 256
)

// Subjects answers the public keys of whom calls are about.
type Subjects interface {
	SubjectKey(ctx context.Context, r *connect.Request[auditv1.SubjectKeyRequest]) (*connect.Response[auditv1.SubjectKeyResponse], error)
}

// Defaults says what a tenant wants where a server does not say.
type Defaults interface {
	Recording(tenant string) *resourcev1.Recording
}

// Keeper implements guard.Keeper. Safe for concurrent use.
type Keeper struct {
	subjects Subjects // nil where the edge has no way to audit
	defaults Defaults
	clean    guard.Inspector
	now      clock.Now
	scrub    scrubber
	asking   flight.Group[subject, *key]

	mu   sync.RWMutex
	keys map[subject]*key
}

type subject struct{ tenant, kind, name string }

type key struct {
	id     string
	public sealed.Public
	until  time.Time
}

// New makes a keeper without any key. Without subjects, calls whose copies have to be sealed are refused.
func New(subjects Subjects, defaults Defaults, clean guard.Inspector, now clock.Now) *Keeper {
	return &Keeper{subjects: subjects, defaults: defaults, clean: clean, now: now, scrub: scrubber{names: secretNames(), shapes: shapes.New()}, keys: map[subject]*key{}}
}

// Close ends the questions that are under way. It is for after the last request.
func (k *Keeper) Close() { k.asking.Close() }

// Copy implements guard.Keeper.
func (k *Keeper) Copy(ctx context.Context, c *guard.Caller, t *guard.Tool, callID string, arguments []byte) (guard.Copy, error) {
	wish := t.Recording
	if wish == nil {
		wish = k.defaults.Recording(c.Tenant)
	}
	of, named := about(c, wish, arguments)
	if !copies(wish.GetArguments()) && !copies(wish.GetResults()) && !named {
		return nil, nil
	}
	out := &copier{keeper: k, wish: wish, tenant: c.Tenant, call: callID, named: named}
	if named || wish.GetArguments() == closed || wish.GetResults() == closed {
		var err error
		if out.key, err = k.key(ctx, of); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func copies(how string) bool { return how == redacted || how == closed }

// about is whom a call is about: what the recording's path leads to, if that is a name or a number, which named reports, or who calls.
func about(c *guard.Caller, wish *resourcev1.Recording, arguments []byte) (of subject, named bool) {
	caller := subject{tenant: c.Tenant, kind: "person", name: c.Person}
	if wish.GetSubject() == nil || len(arguments) == 0 {
		return caller, false
	}
	value, err := policy.FactValue(arguments, wish.GetSubject().GetPath())
	if err != nil {
		return caller, false
	}
	name, ok := scalar(value)
	if !ok || name == "" || len(name) > longestSubject {
		return caller, false
	}
	return subject{tenant: c.Tenant, kind: wish.GetSubject().GetKind(), name: name}, true
}

// key is the subject's, from memory or from audit.
func (k *Keeper) key(ctx context.Context, of subject) (*key, error) {
	k.mu.RLock()
	known := k.keys[of]
	k.mu.RUnlock()
	if known != nil && k.now().Before(known.until) {
		return known, nil
	}
	return k.asking.Do(ctx, of, patience, func(ctx context.Context) (*key, error) { return k.ask(ctx, of) })
}

func (k *Keeper) ask(ctx context.Context, of subject) (*key, error) {
	if k.subjects == nil {
		return nil, fault.New(faultv1.Reason_REASON_JOURNAL,
			"The call was refused because its record has to be sealed or say whom it is about, and this edge has no way to the audit service. An administrator must set peers.audit in its configuration.")
	}
	begun := k.now()
	answer, err := k.subjects.SubjectKey(ctx, connect.NewRequest(&auditv1.SubjectKeyRequest{Tenant: of.tenant, Subject: &auditv1.Subject{Kind: of.kind, Name: of.name}}))
	var public sealed.Public
	if err == nil {
		public, err = sealed.ParsePublic(answer.Msg.GetPublicKey())
	}
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_JOURNAL,
			"The call was refused because its record has to be sealed or say whom it is about, and the audit service gave no key for that. Nothing ran unrecorded; try again, and tell your administrator if it stays so.").Because(err)
	}
	fresh := &key{id: answer.Msg.GetId(), public: public, until: begun.Add(lasting)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) >= remembered {
		clear(k.keys)
	}
	k.keys[of] = fresh
	return fresh, nil
}

// copier implements guard.Copy.
type copier struct {
	keeper       *Keeper
	wish         *resourcev1.Recording
	tenant, call string
	key          *key // nil when nothing is sealed and nobody is named
	named        bool // the arguments name whom the call is about
}

// Arguments implements guard.Copy.
func (c *copier) Arguments(into *eventsv1.Payload, document []byte, lease *guard.Lease) (string, error) {
	if c.named {
		into.SubjectKey = c.key.id
	}
	if len(document) == 0 || !copies(c.wish.GetArguments()) {
		return "", nil
	}
	clean, _, err := c.keeper.clean.Inspect(document, lease) // the agent never had the credential; if it was told one all the same, it is not kept
	if err != nil {
		return "", uncopied(sealed.Arguments, err)
	}
	return c.put(into, c.wish.GetArguments(), sealed.Arguments, clean)
}

// Result implements guard.Copy. The document was inspected.
func (c *copier) Result(into *eventsv1.Payload, document []byte) (string, error) {
	if len(document) == 0 || !copies(c.wish.GetResults()) {
		return "", nil
	}
	return c.put(into, c.wish.GetResults(), sealed.Result, document)
}

func (c *copier) put(into *eventsv1.Payload, how string, part sealed.Part, document []byte) (string, error) {
	if len(document) > MaxCopy {
		return fmt.Sprintf("its %s has %d bytes, and there are copies of %d at most: it has the hash alone", part, len(document), MaxCopy), nil
	}
	if how == closed {
		box, err := c.key.public.Seal(sealed.Binding{Tenant: c.tenant, Key: c.key.id, Call: c.call, Part: part}, document)
		if err != nil {
			return "", uncopied(part, err)
		}
		into.Sealed = &eventsv1.Sealed{Key: c.key.id, Box: box}
		return "", nil
	}
	text, taken, err := c.redact(part, document)
	if err != nil {
		return "", uncopied(part, err)
	}
	if len(text) > MaxCopy { // what stands for something left out can be longer than it
		return fmt.Sprintf("its %s has %d bytes once redacted, and there are copies of %d at most: it has the hash alone", part, len(text), MaxCopy), nil
	}
	into.Document = string(text)
	if len(taken) == 0 {
		return "", nil
	}
	return fmt.Sprintf("the copy of its %s leaves out: %s", part, strings.Join(taken, ", ")), nil
}

// structured is where a result has its structured form.
const structured = "/structuredContent"

// redact is a document without what may not be kept, and the pointers of the wish that led to something. They are held against the document itself, against the structured
// form of a result, and against JSON in texts.
func (c *copier) redact(part sealed.Part, document []byte) (text []byte, taken []string, err error) {
	scrub := c.keeper.scrub
	scrub.classes = c.wish.GetRedactClasses()
	var paths []string
	wished := map[string]string{} // by the form in which a pointer is used
	for _, pointer := range c.wish.GetRedact() {
		within := strings.TrimPrefix(pointer, structured)
		if within == "" || within[0] != '/' {
			within = pointer
		}
		paths, scrub.pointers = append(paths, pointer), append(scrub.pointers, within)
		wished[pointer], wished[within] = pointer, pointer
		if part == sealed.Result && within == pointer {
			paths = append(paths, structured+pointer)
			wished[structured+pointer] = pointer
		}
	}
	found := map[string]bool{}
	scrub.hit = func(pointer string) { found[wished[pointer]] = true }
	text, hit, err := policy.RedactResult(document, paths)
	if err != nil {
		return nil, nil, err
	}
	for _, pointer := range hit.Hit {
		scrub.hit(pointer)
	}
	text, err = scrub.document(text, 0)
	return text, slices.Sorted(maps.Keys(found)), err
}

func uncopied(part sealed.Part, err error) error {
	return fault.New(faultv1.Reason_REASON_JOURNAL, "The record has to hold a copy of the call's %s, and it could not be made. Tell your administrator.", part).Because(err)
}

// scalar is a JSON string's text or a number as it is written.
func scalar(value []byte) (string, bool) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return "", false
	}
	switch c := value[0]; {
	case c == '"':
		return unquote(value)
	case c == '-' || c >= '0' && c <= '9':
		return string(value), true
	}
	return "", false
}
