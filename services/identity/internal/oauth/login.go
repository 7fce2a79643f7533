package oauth

import (
	"bytes"
	"crypto/subtle"
	_ "embed"
	"errors"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"

	"headgate.dev/libs/fault"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/identity/internal/directory"
)

//go:embed login.html
var loginHTML string

var loginPage = template.Must(template.New("login").Parse(loginHTML))

// longestName is as long as a person's name can be.
const longestName = 63

type choice struct{ Value, Label string }

type loginData struct {
	Request, Client, Host string
	Resources             []string
	People                []choice
}

// login shows who can sign in and takes the choice. It asks for no password: it is served only for demos.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("X-Frame-Options", "DENY")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if !s.cfg.DemoLogin {
		http.Error(w, "This issuer has no sign-in page (demoLogin is off).", http.StatusNotFound)
		return
	}
	id := r.Form.Get("request")
	p, err := s.requests.waiting(r.Context(), id)
	switch {
	case errors.Is(err, errNoRequest):
		http.Error(w, "This sign-in is over or was never begun. Start again from the application.", http.StatusBadRequest)
	case err != nil:
		s.log.Error("sign-in failed", "at", "login", "cause", err)
		http.Error(w, "Something failed inside. Try again; the log has the cause.", http.StatusInternalServerError)
	case subtle.ConstantTimeCompare([]byte(hash(browserOf(r.Header))), []byte(p.Browser)) != 1:
		http.Error(w, "This sign-in was begun in another browser. Start again from the application.", http.StatusForbidden)
	case r.Method == http.MethodPost:
		s.chosen(w, r, id, p)
	default:
		s.show(w, id, p)
	}
}

func (s *Server) show(w http.ResponseWriter, id string, p *pending) {
	data := loginData{Request: id, Client: p.ClientID, Resources: p.Resources}
	if c := s.clients[p.ClientID]; c != nil && c.Name != "" {
		data.Client = c.Name
	}
	if u, err := url.Parse(p.RedirectURI); err == nil {
		data.Host = u.Scheme + "://" + u.Host
	}
	for _, person := range s.directory.People() {
		m := person.GetMetadata()
		if m.GetTenant() == directory.SystemTenant {
			continue // a page without a password is no way to the platform's rights
		}
		label := m.GetTenant() + " / " + m.GetName()
		if full := person.GetSpec().GetDisplayName(); full != "" {
			label += " (" + full + ")"
		}
		data.People = append(data.People, choice{Value: m.GetTenant() + "/" + m.GetName(), Label: label})
	}
	var page bytes.Buffer
	if err := loginPage.Execute(&page, data); err != nil {
		s.log.Error("sign-in failed", "at", "page", "cause", err)
		http.Error(w, "Something failed inside. Try again; the log has the cause.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if _, err := page.WriteTo(w); err != nil {
		s.log.Debug("the page was not taken", "cause", err)
	}
}

func (s *Server) chosen(w http.ResponseWriter, r *http.Request, id string, p *pending) {
	tenant, person, ok := strings.Cut(r.PostForm.Get("person"), "/")
	_, err := s.directory.Caller(tenant, person)
	if err != nil || !ok || tenant == directory.SystemTenant {
		s.refused(r, tenant, person, p.ClientID, err)
		http.Error(w, "This person cannot sign in. Go back and choose another one.", http.StatusForbidden)
		return
	}
	code, err := s.requests.signIn(r.Context(), id, p, tenant, person)
	if errors.Is(err, errNoRequest) {
		http.Error(w, "This sign-in is over. Start again from the application.", http.StatusBadRequest)
		return
	}
	if err == nil { // no record, no sign-in: the code is not given away
		err = s.desk.SignedIn(tenant, person, p.ClientID, source(r))
	}
	if err != nil {
		s.log.Error("sign-in failed", "at", "choice", "cause", err)
		http.Error(w, "Something failed inside. Try again; the log has the cause.", http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, s.answer(p.RedirectURI, p.State, url.Values{"code": {code}}).URL, http.StatusSeeOther)
}

// source is where a browser is.
func source(r *http.Request) *eventsv1.Source {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = ""
	}
	return &eventsv1.Source{Ip: host, UserAgent: clip(r.UserAgent(), 256)}
}

// refused records a sign-in that was not, for the tenant of the person. What was typed and is nobody there is the platform's to look at.
func (s *Server) refused(r *http.Request, tenant, person, client string, why error) {
	if why == nil {
		why = fault.New(faultv1.Reason_REASON_ROLE_REQUIRED, "This person cannot sign in here.")
	}
	if _, err := s.directory.Get(r.Context(), "Person", tenant, person); err != nil {
		tenant = directory.SystemTenant
	}
	if err := s.desk.SignInRefused(tenant, clip(person, longestName), client, source(r), why); err != nil {
		s.log.Error("a refused sign-in could not be recorded", "cause", err)
	}
}

// clip bounds what somebody typed.
func clip(text string, longest int) string {
	if text = strings.ToValidUTF8(text, "?"); len(text) > longest {
		return strings.ToValidUTF8(text[:longest], "")
	}
	return text
}
