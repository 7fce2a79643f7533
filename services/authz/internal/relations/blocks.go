package relations

import (
	"slices"
	"strings"
	"time"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/services/authz/internal/directory"
)

// The relations that block lists stand for: who must not call, and who must not even see. The questions that grants make ask for neither, so that a list
// of what somebody may use costs no check for each of its objects: what is blocked is taken away once, beside them.
const (
	Blocked = "blocked"
	Hidden  = "hidden"
)

// Block is one way in which a block list keeps a principal from tools of a server. It wins over every path.
type Block struct {
	// Server is a server's name or AllServers, Tool a tool's or AllTools.
	Server, Tool string
	// Hides is false where the tools may still be seen.
	Hides bool
	// Via is the way in words, as "ana → group emea → block list leavers".
	Via string
	// Until is when it ends; zero means never.
	Until time.Time
}

// AllServers stands for every server, also those that come later.
const AllServers = "*"

// Over reports whether the block has ended.
func (b Block) Over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// meets reports whether the block is about a tool; AllTools is met by a block of all of them alone.
func (b Block) meets(server, tool string) bool {
	return (b.Server == server || b.Server == AllServers) && (b.Tool == tool || b.Tool == AllTools)
}

// PersonBlocks are what keeps a person from tools, in a fixed order.
func PersonBlocks(t *directory.Tenant, name string) []Block {
	if _, ok := t.Person(name); !ok {
		return nil
	}
	var blocks []Block
	for _, list := range t.BlockLists() {
		spec := t.BlockList(list)
		if slices.Contains(spec.GetPeople(), name) {
			blocks = append(blocks, targets(name+arrow+"block list "+list, spec)...)
		}
		for _, chain := range t.Chains(name) {
			if slices.Contains(spec.GetGroups(), chain[len(chain)-1]) {
				blocks = append(blocks, targets(name+arrow+"group "+strings.Join(chain, arrow+"group ")+arrow+"block list "+list, spec)...)
			}
		}
	}
	return blocks
}

// AgentBlocks are what keeps an agent from tools, whoever it acts for.
func AgentBlocks(t *directory.Tenant, name string) []Block {
	if _, ok := t.Agent(name); !ok {
		return nil
	}
	var blocks []Block
	for _, list := range t.BlockLists() {
		if spec := t.BlockList(list); slices.Contains(spec.GetAgents(), name) {
			blocks = append(blocks, targets("agent "+name+arrow+"block list "+list, spec)...)
		}
	}
	return blocks
}

func targets(via string, spec *identityv1.BlockListSpec) []Block {
	var blocks []Block
	for _, target := range spec.GetTargets() {
		for _, tool := range target.GetTools() {
			blocks = append(blocks, Block{Server: target.GetServer(), Tool: tool, Hides: hides(target), Via: via, Until: ends(spec.GetUntil())})
		}
	}
	return blocks
}

func hides(target *identityv1.BlockTarget) bool { return target.GetCannot() == "see" }

// Unblocked leaves out paths to what a block hides; one to what must not be called only shows it. With a tool, paths of all tools are held against what
// keeps from that one.
func Unblocked(paths []Path, tool string, blocks []Block, now time.Time) []Path {
	var left []Path
	for _, p := range paths {
		about, hidden := p.Tool, false
		if tool != "" && about == AllTools {
			about = tool
		}
		for _, b := range blocks {
			if b.meets(p.Server, about) && !b.Over(now) {
				p.Call, p.If, hidden = false, nil, hidden || b.Hides
			}
		}
		if !hidden {
			left = append(left, p)
		}
	}
	return left
}

// blocklists are what block lists say, of who is there.
func (d desired) blocklists(t *directory.Tenant) {
	for _, name := range t.BlockLists() {
		spec := t.BlockList(name)
		for _, user := range kept(t, spec) {
			for _, target := range spec.GetTargets() {
				relation := Blocked
				if hides(target) {
					relation = Hidden
				}
				for _, tool := range target.GetTools() {
					d.set.add(Tuple{Object: d.target(target.GetServer(), tool), Relation: relation, User: user, Until: ends(spec.GetUntil())})
				}
			}
		}
	}
}

// target is the object that stands for tools, with what places it in its server and the server in the tenant.
func (d desired) target(server, tool string) string {
	if server == AllServers {
		return d.organization
	}
	d.add(Server(server), relOrganization, d.organization)
	if tool == AllTools {
		return Server(server)
	}
	d.add(Tool(server, tool), relServer, Server(server))
	return Tool(server, tool)
}

// kept are the users and usersets that a block list names.
func kept(t *directory.Tenant, spec *identityv1.BlockListSpec) []string {
	var users []string
	for _, name := range spec.GetPeople() {
		if _, ok := t.Person(name); ok {
			users = append(users, User(name))
		}
	}
	for _, name := range spec.GetGroups() {
		if t.Declared("group", name) {
			users = append(users, members(name))
		}
	}
	for _, name := range spec.GetAgents() {
		if _, ok := t.Agent(name); ok {
			users = append(users, Agent(name))
		}
	}
	return users
}
