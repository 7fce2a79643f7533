package policy

import (
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"headgate.dev/libs/policy/money"
	"headgate.dev/libs/policy/pathtext"
	"headgate.dev/libs/policy/region"
	"headgate.dev/libs/policy/textclass"
	"headgate.dev/libs/policy/webaddr"
)

// The functions of rules that are ours, by the names that authors write.
const (
	functionURL     = "url"
	functionHost    = "host"
	functionIPClass = "ipClass"
	functionNetwork = "inNetwork"
	functionPath    = "path"
	functionUnder   = "under"
	functionMoney   = "money"
	functionAbove   = "above"
	functionBelow   = "below"
	functionClasses = "classes"
	functionRegion  = "inRegion"
	functionOpen    = "openAt"
	functionHoliday = "holiday"
	functionLocal   = "localDate"
	hiddenOpen      = "@openAt"
	hiddenHoliday   = "@holiday"
	functionRelated = "related"
	hiddenRelated   = "@related"
)

// overloadPathUnder tells under of a path from that of a host.
const overloadPathUnder = "headgate_path_under"

// of1 binds a function of one value of a native type; an error of it is an error of the rule.
func of1[A any](f func(A) (ref.Val, error)) cel.OverloadOpt {
	return cel.UnaryBinding(func(v ref.Val) ref.Val {
		a, ok := v.Value().(A)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		return result(f(a))
	})
}

// of2 is of1 for two values.
func of2[A, B any](f func(A, B) (ref.Val, error)) cel.OverloadOpt {
	return cel.BinaryBinding(func(v, w ref.Val) ref.Val {
		a, okA := v.Value().(A)
		b, okB := w.Value().(B)
		if !okA {
			return types.MaybeNoSuchOverloadErr(v)
		}
		if !okB {
			return types.MaybeNoSuchOverloadErr(w)
		}
		return result(f(a, b))
	})
}

func result(v ref.Val, err error) ref.Val {
	if err != nil {
		return types.WrapErr(err)
	}
	return v
}

func truth(b bool, err error) (ref.Val, error) { return types.Bool(b), err }

// addressFunctions are about URLs, hosts, addresses and networks.
func addressFunctions(urlT, hostT *cel.Type) []cel.EnvOption {
	text := cel.StringType
	return []cel.EnvOption{
		cel.Function(functionURL, cel.Overload("headgate_url_string", []*cel.Type{text}, urlT, of1(func(s string) (ref.Val, error) {
			u, err := webaddr.ReadURL(s)
			return object{urlType, u}, err
		}))),
		cel.Function(functionHost, cel.Overload("headgate_host_string", []*cel.Type{text}, hostT, of1(func(s string) (ref.Val, error) {
			h, err := webaddr.ReadHost(s)
			return object{hostType, h}, err
		}))),
		cel.Function(functionIPClass, cel.Overload("headgate_ip_class_string", []*cel.Type{text}, text, of1(func(s string) (ref.Val, error) {
			ip, err := webaddr.ReadIP(s)
			return types.String(webaddr.Class(ip)), err
		}))),
		cel.Function(functionNetwork,
			cel.Overload("headgate_in_network", []*cel.Type{text, text}, cel.BoolType, of2(inNetwork)),
			cel.Overload("headgate_in_networks", []*cel.Type{text, cel.ListType(text)}, cel.BoolType, cel.BinaryBinding(inNetworks))),
		cel.Function(functionUnder,
			cel.MemberOverload("headgate_url_under", []*cel.Type{urlT, text}, cel.BoolType, of2(func(u *webaddr.URL, name string) (ref.Val, error) {
				return truth(u.Host.Under(name))
			})),
			cel.MemberOverload("headgate_host_under", []*cel.Type{hostT, text}, cel.BoolType, of2(func(h *webaddr.Host, name string) (ref.Val, error) {
				return truth(h.Under(name))
			})),
			cel.MemberOverload(overloadPathUnder, []*cel.Type{cel.ObjectType(pathType), text}, cel.BoolType,
				of2(func(p *pathtext.Path, root string) (ref.Val, error) { return truth(p.Under(root)) }))),
	}
}

func inNetwork(ip, network string) (ref.Val, error) {
	addr, err := webaddr.ReadIP(ip)
	if err != nil {
		return nil, err
	}
	p, err := webaddr.ReadNetwork(network)
	return types.Bool(err == nil && p.Contains(addr)), err
}

// inNetworks holds for an address of any of the networks. All of them must be networks, whichever holds it.
func inNetworks(ip, list ref.Val) ref.Val {
	text, ok := ip.Value().(string)
	all, isList := list.(traits.Lister)
	if !ok || !isList {
		return types.MaybeNoSuchOverloadErr(ip)
	}
	within := types.False
	for it := all.Iterator(); it.HasNext() == types.True; {
		network, ok := it.Next().Value().(string)
		if !ok {
			return types.NewErr("a network is not a text")
		}
		one, err := inNetwork(text, network)
		if err != nil {
			return types.WrapErr(err)
		}
		if one == types.True {
			within = types.True
		}
	}
	return within
}

// valueFunctions are about paths, amounts, texts and countries.
func valueFunctions(pathT, moneyT *cel.Type) []cel.EnvOption {
	text := cel.StringType
	amount := func(id string, t *cel.Type, bind cel.OverloadOpt) cel.FunctionOpt {
		return cel.Overload(id, []*cel.Type{t, text}, moneyT, bind)
	}
	compare := func(want int) (cel.OverloadOpt, cel.OverloadOpt) {
		return of2(func(a *money.Amount, limit string) (ref.Val, error) { return compareText(a, limit, want) }),
			of2(func(a, b *money.Amount) (ref.Val, error) { return compareMoney(a, b, want) })
	}
	aboveText, above := compare(1)
	belowText, below := compare(-1)
	return []cel.EnvOption{
		cel.Function(functionPath, cel.Overload("headgate_path_string", []*cel.Type{text}, pathT, of1(func(s string) (ref.Val, error) {
			p, err := pathtext.Read(s)
			return object{pathType, p}, err
		}))),
		cel.Function(functionMoney,
			cel.Overload("headgate_money_string", []*cel.Type{text}, moneyT, of1(func(s string) (ref.Val, error) { return amountOf(money.Parse(s)) })),
			amount("headgate_money_int", cel.IntType, of2(func(n int64, c string) (ref.Val, error) { return amountOf(money.OfInt(n, c)) })),
			amount("headgate_money_double", cel.DoubleType, of2(func(f float64, c string) (ref.Val, error) { return amountOf(money.OfFloat(f, c)) })),
			amount("headgate_money_text", text, of2(func(s, c string) (ref.Val, error) { return amountOf(money.New(s, c)) }))),
		cel.Function(functionAbove,
			cel.MemberOverload("headgate_above_text", []*cel.Type{moneyT, text}, cel.BoolType, aboveText),
			cel.MemberOverload("headgate_above_money", []*cel.Type{moneyT, moneyT}, cel.BoolType, above)),
		cel.Function(functionBelow,
			cel.MemberOverload("headgate_below_text", []*cel.Type{moneyT, text}, cel.BoolType, belowText),
			cel.MemberOverload("headgate_below_money", []*cel.Type{moneyT, moneyT}, cel.BoolType, below)),
		cel.Function(functionClasses, cel.Overload("headgate_classes_dyn", []*cel.Type{cel.DynType}, cel.ListType(text), cel.UnaryBinding(classesOf))),
		cel.Function(functionRegion, cel.Overload("headgate_in_region", []*cel.Type{text, text}, cel.BoolType, of2(func(country, name string) (ref.Val, error) {
			return truth(region.In(country, name))
		}))),
	}
}

func amountOf(a money.Amount, err error) (ref.Val, error) { return object{moneyType, &a}, err }

func compareText(a *money.Amount, limit string, want int) (ref.Val, error) {
	b, err := money.Parse(limit)
	if err != nil {
		return nil, err
	}
	return compareMoney(a, &b, want)
}

func compareMoney(a, b *money.Amount, want int) (ref.Val, error) {
	n, err := a.Compare(*b)
	return types.Bool(err == nil && n == want), err
}

// classesOf looks at every text within a value, names of members included.
func classesOf(v ref.Val) ref.Val {
	g := gatherer{}
	if err := g.value(v); err != nil {
		return types.WrapErr(err)
	}
	found := map[string]bool{}
	for _, text := range g.texts {
		for _, class := range textclass.Find(text) {
			found[class] = true
		}
	}
	return types.NewStringList(types.DefaultTypeAdapter, slices.Sorted(maps.Keys(found)))
}

// maxClassified bounds the text that one use of classes looks at.
const maxClassified = 32 << 10

// gatherer collects the texts and numbers within a value.
type gatherer struct {
	texts []string
	bytes int
}

func (g *gatherer) add(text string) error {
	if g.bytes += len(text); g.bytes > maxClassified {
		return fmt.Errorf("there are more than %d bytes of text to look at", maxClassified)
	}
	g.texts = append(g.texts, text)
	return nil
}

func (g *gatherer) value(v ref.Val) error {
	switch v := v.(type) {
	case types.String:
		return g.add(string(v))
	case types.Int, types.Uint, types.Double:
		text, err := appendScalar(nil, v.Value())
		if err != nil {
			return err
		}
		return g.add(string(text))
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			if err := g.value(key); err != nil {
				return err
			}
			if err := g.value(v.Get(key)); err != nil {
				return err
			}
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			if err := g.value(it.Next()); err != nil {
				return err
			}
		}
	case *types.Err, *types.Unknown, object:
		return fmt.Errorf("a %s has no text to look at", v.Type().TypeName())
	}
	return nil
}
