package kubelet

import (
	"cmp"
	"slices"
	"strings"
)

// expand replaces $(NAME) in s by what lookup says. A reference to a name that
// is not known stays as it is, and $$ stands for a dollar sign, so that $$(NAME)
// comes out as $(NAME).
func expand(s string, lookup func(name string) (string, bool)) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:i])
		s = s[i:]
		switch s[1] {
		case '$':
			out.WriteByte('$')
			s = s[2:]
		case '(':
			end := strings.IndexByte(s, ')')
			if end < 0 {
				out.WriteString(s)
				return out.String()
			}
			if value, ok := lookup(s[2:end]); ok {
				out.WriteString(value)
			} else {
				out.WriteString(s[:end+1])
			}
			s = s[end+1:]
		default:
			out.WriteByte('$')
			s = s[1:]
		}
	}
}

// mount says where a path of a container really is.
type mount struct{ path, folder string }

// mounts is ordered from the longest path to the shortest, so that a mount
// inside another one is found first.
type mounts []mount

func newMounts(all []mount) mounts {
	m := slices.Clone(all)
	for i := range m {
		m[i].path = strings.TrimRight(m[i].path, "/")
	}
	m = slices.DeleteFunc(m, func(m mount) bool { return m.path == "" })
	slices.SortStableFunc(m, func(a, b mount) int { return cmp.Compare(len(b.path), len(a.path)) })
	return m
}

// rewrite replaces each path in s that is a mount's path or lies below one. A
// path begins where the character before it cannot belong to a path, so that in
// --dir=/data:/data2 and "cat /data/x" the mount /data is found, and in /my/data,
// http://host/data and $(ROOT)/data it is not.
func (m mounts) rewrite(s string) string {
	if len(m) == 0 {
		return s
	}
	var out strings.Builder
next:
	for i := 0; i < len(s); {
		if s[i] == '/' && (i == 0 || !inPath(s[i-1]) && s[i-1] != '/' && s[i-1] != ')') {
			for _, mount := range m {
				rest, ok := strings.CutPrefix(s[i:], mount.path)
				if ok && (rest == "" || !inPath(rest[0])) {
					out.WriteString(mount.folder)
					i += len(mount.path)
					continue next
				}
			}
		}
		out.WriteByte(s[i])
		i++
	}
	return out.String()
}

// inPath reports whether c can be part of a file name as it is usually written.
func inPath(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_'
}
