package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/sqlstore"
)

const (
	signInFor   = 10 * time.Minute // how long a person may take to sign in
	exchangeFor = time.Minute      // how long a code is good
)

var errNoRequest = errors.New("no such request")

// pending is one authorization request on its way.
type pending struct {
	ClientID    string    `json:"client_id"`
	RedirectURI string    `json:"redirect_uri"`
	State       string    `json:"state"`
	Nonce       string    `json:"nonce"`
	Scopes      []string  `json:"scopes"`
	Challenge   string    `json:"challenge"`
	Resources   []string  `json:"resources"`
	Browser     string    `json:"browser"` // hash of the cookie of the browser that began
	SignedIn    time.Time `json:"signed_in"`

	Tenant  string `json:"-"`
	Person  string `json:"-"`
	TokenID string `json:"-"` // set when the code was exchanged
}

// requests keeps authorization requests in the database, so that any process can carry one on. Ids and codes are kept as hashes.
type requests struct {
	db  *sqlstore.DB
	now clock.Now
}

// random is an unguessable text.
func random() (string, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("drawing a random text: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// begin keeps a request and returns its id.
func (q *requests) begin(ctx context.Context, p *pending) (string, error) {
	id, err := random()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("writing an authorization request: %w", err)
	}
	_, err = q.db.Exec(ctx, "INSERT INTO oauth_requests (id, code, request, tenant, person, token_id, expires_at) VALUES (?, NULL, ?, '', '', '', ?)",
		hash(id), string(text), sqlstore.Time(q.now().Add(signInFor)))
	if err != nil {
		return "", fmt.Errorf("keeping an authorization request: %w", err)
	}
	return id, nil
}

// waiting is a request whose person has not signed in yet.
func (q *requests) waiting(ctx context.Context, id string) (*pending, error) {
	return q.read(ctx, "id = ? AND code IS NULL", hash(id))
}

// byCode is a request whose person has signed in, exchanged already or not.
func (q *requests) byCode(ctx context.Context, code string) (*pending, error) {
	return q.read(ctx, "code = ?", hash(code))
}

func (q *requests) read(ctx context.Context, where, value string) (*pending, error) {
	p := &pending{}
	var text string
	row := q.db.QueryRow(ctx, "SELECT request, tenant, person, token_id FROM oauth_requests WHERE "+where+" AND expires_at > ?", value, sqlstore.Time(q.now()))
	if err := row.Scan(&text, &p.Tenant, &p.Person, &p.TokenID); errors.Is(err, sql.ErrNoRows) {
		return nil, errNoRequest
	} else if err != nil {
		return nil, fmt.Errorf("reading an authorization request: %w", err)
	}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("reading an authorization request: %w", err)
	}
	return p, nil
}

// signIn says who signed in and returns the code, once for each request.
func (q *requests) signIn(ctx context.Context, id string, p *pending, tenant, person string) (string, error) {
	code, err := random()
	if err != nil {
		return "", err
	}
	p.SignedIn = q.now()
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("writing an authorization request: %w", err)
	}
	return code, q.once(ctx, "UPDATE oauth_requests SET code = ?, request = ?, tenant = ?, person = ?, expires_at = ? WHERE id = ? AND code IS NULL",
		hash(code), string(text), tenant, person, sqlstore.Time(q.now().Add(exchangeFor)), hash(id))
}

// exchange marks a code as used for a token, once.
func (q *requests) exchange(ctx context.Context, code, tokenID string) error {
	return q.once(ctx, "UPDATE oauth_requests SET token_id = ?, expires_at = ? WHERE code = ? AND token_id = ''",
		tokenID, sqlstore.Time(q.now().Add(tokenTTL)), hash(code))
}

func (q *requests) once(ctx context.Context, query string, args ...any) error {
	result, err := q.db.Exec(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("changing an authorization request: %w", err)
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("changing an authorization request: %w", err)
	}
	if changed != 1 {
		return errNoRequest
	}
	return nil
}
