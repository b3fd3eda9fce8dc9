package tsql

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// What a contained user's password is kept as: PBKDF2 with HMAC-SHA-256.
const (
	passwordIterations = 100_000
	passwordSalt       = 16
	passwordHash       = 32
)

// setPassword hashes a password into a principal.
func (s *Session) setPassword(p *principal, password string) error {
	if !complexPassword(password, p.Name) {
		return message(15118, "Password validation failed. The password does not meet policy requirements because it is not complex enough.")
	}
	p.Salt, p.Iterations = make([]byte, passwordSalt), passwordIterations
	if _, err := io.ReadFull(s.options.Random, p.Salt); err != nil {
		return fmt.Errorf("draw a salt: %w", err)
	}
	var err error
	if p.Hash, err = pbkdf2.Key(sha256.New, password, p.Salt, p.Iterations, passwordHash); err != nil {
		return fmt.Errorf("hash a password: %w", err)
	}
	return nil
}

// complexPassword is the policy of Azure SQL Database.
// Source: https://learn.microsoft.com/sql/relational-databases/security/password-policy
func complexPassword(password, name string) bool {
	kinds := map[string]bool{}
	for _, r := range password {
		switch {
		case unicode.IsUpper(r):
			kinds["upper"] = true
		case unicode.IsLower(r):
			kinds["lower"] = true
		case unicode.IsDigit(r):
			kinds["digit"] = true
		default:
			kinds["other"] = true
		}
	}
	n := len([]rune(password))
	return n >= 8 && n <= 128 && len(kinds) >= 3 && !strings.Contains(lower(password), lower(name))
}

func (p *principal) checkPassword(password string) bool {
	if len(p.Hash) == 0 {
		return false
	}
	hash, err := pbkdf2.Key(sha256.New, password, p.Salt, p.Iterations, len(p.Hash))
	return err == nil && subtle.ConstantTimeCompare(hash, p.Hash) == 1
}

// ErrNoUser says that a database has no user for who signs in, or that the
// password is not the user's, or that the user may not connect.
var ErrNoUser = errors.New("no user of the database")

// Authenticate finds the contained database user of a name, if the password is
// right and the user may connect: else its error is ErrNoUser. A
// database that cannot be read gives another error.
// Source: https://learn.microsoft.com/sql/relational-databases/security/contained-database-users-making-your-database-portable
func Authenticate(ctx context.Context, db Database, user, password string) (Principal, error) {
	d, err := readDefinitions(ctx, db)
	if err != nil {
		return Principal{}, err
	}
	p, ok := d.principalNamed(user)
	if !ok || !p.checkPassword(password) || !d.mayConnect([]int32{p.ID}) {
		return Principal{}, ErrNoUser
	}
	return Principal{Login: p.Name, UserID: p.ID}, nil
}

// FindExternal finds the user of a principal of Microsoft Entra ID: its own, or
// that of a group that it is in. sid is its object id, or the application id of a
// service principal. The error is ErrNoUser when there is none.
// Source: https://learn.microsoft.com/azure/azure-sql/database/authentication-aad-overview
func FindExternal(ctx context.Context, db Database, login string, sid sqltype.GUID, groups []sqltype.GUID) (Principal, error) {
	d, err := readDefinitions(ctx, db)
	if err != nil {
		return Principal{}, err
	}
	found := Principal{Login: login, External: true, SID: sid, Groups: groups}
	var ids []int32
	for _, p := range d.principalsByID() {
		switch {
		case p.Type == "E" && bytes.Equal(p.SID, sid[:]):
			ids = append([]int32{p.ID}, ids...)
		case p.Type == "X" && inGroups(p.SID, groups):
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 || !d.mayConnect(ids) {
		return Principal{}, ErrNoUser
	}
	found.UserID = ids[0]
	return found, nil
}

func inGroups(sid []byte, groups []sqltype.GUID) bool {
	for _, g := range groups {
		if bytes.Equal(sid, g[:]) {
			return true
		}
	}
	return false
}

// mayConnect says whether CONNECT is granted to one of the principals and
// denied to none.
func (d *definitions) mayConnect(ids []int32) bool {
	given := false
	for _, g := range d.grants {
		for _, id := range ids {
			if g.Grantee == id && g.Class == classDatabase && g.Permission == "CONNECT" {
				if g.State == "D" {
					return false
				}
				given = true
			}
		}
	}
	return given
}

// readDefinitions reads a database's catalog over a connection of its own.
func readDefinitions(ctx context.Context, db Database) (d *definitions, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, &BrokenError{Database: db.Name(), Err: err}
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	s := &Session{options: SessionOptions{Database: db, Catalogs: &Catalogs{}}, conn: conn, prepared: map[string]*sqlite3.Stmt{}}
	defer func() { err = errors.Join(err, s.closePrepared()) }()
	if err := s.read(func() error { return nil }); err != nil {
		return nil, err
	}
	return s.definitions, nil
}
