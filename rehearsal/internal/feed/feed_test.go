package feed

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFeedFindsWhatAListChanged(t *testing.T) {
	svc := func(name, version string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: version}}
	}
	var got []string
	f := &feed[*corev1.Service]{emit: func(key string, s *corev1.Service, initial bool) {
		switch {
		case s == nil:
			got = append(got, "gone "+key)
		case initial:
			got = append(got, "initial "+key)
		default:
			got = append(got, s.ResourceVersion+" "+key)
		}
	}}
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"first list", func() error { return f.Replace([]any{svc("a", "1"), svc("b", "2")}, "2") }, []string{"initial default/a", "initial default/b"}},
		{"watch adds", func() error { return f.Add(svc("c", "3")) }, []string{"3 default/c"}},
		{"watch updates", func() error { return f.Update(svc("a", "4")) }, []string{"4 default/a"}},
		{"watch repeats", func() error { return f.Update(svc("a", "4")) }, nil},
		{"watch deletes", func() error { return f.Delete(svc("b", "5")) }, []string{"gone default/b"}},
		{"list after a gap", func() error { return f.Replace([]any{svc("a", "6"), svc("d", "7")}, "8") }, []string{"6 default/a", "7 default/d", "gone default/c"}},
		{"same list again", func() error { return f.Replace([]any{svc("a", "6"), svc("d", "7")}, "9") }, nil},
	}
	for _, s := range steps {
		got = nil
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, s.want) {
			t.Errorf("%s: got %v, want %v", s.name, got, s.want)
		}
	}
}
