package stdio

import (
	"strconv"
	"strings"

	"headgate.dev/libs/fault"
)

// owner is whom a program runs as; the zero value is the edge's own user.
type owner struct{ uid, gid uint32 }

// ownerOf reads UID:GID. Neither is root's: whoever is root is not kept from anything.
func ownerOf(text string) (owner, error) {
	if text == "" {
		return owner{}, nil
	}
	user, group, two := strings.Cut(text, ":")
	uid, errU := strconv.ParseUint(user, 10, 32)
	gid, errG := strconv.ParseUint(group, 10, 32)
	if !two || errU != nil || errG != nil || uid == 0 || gid == 0 || uid == 1<<32-1 || gid == 1<<32-1 {
		return owner{}, fault.Invalid("stdio.user is two numbers, the user's and the group's, as \"10002:10002\", and neither is root's; %q is not.", text)
	}
	return owner{uint32(uid), uint32(gid)}, nil
}

// Shares reports whether programs run as the edge's own user although this edge could run them as another.
func (c Config) Shares() bool {
	return c.User == "" && len(c.Allow)+len(c.Exactly) > 0 && mayBecome() == nil
}
