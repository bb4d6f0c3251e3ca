package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/uprung/uprung"
)

func TestPagesEndWithWhatTheyShow(t *testing.T) {
	t.Parallel()
	shop, err := newShop()
	if err != nil {
		t.Fatal(err)
	}
	if err := uprung.Vet(shop).Err(); err != nil {
		t.Error(err)
	}
	for _, step := range []struct {
		method, path, text string
		hit                bool
	}{
		{http.MethodGet, "/products", "product 17, version 0\n", false},
		{http.MethodGet, "/products", "product 17, version 0\n", true},
		{http.MethodGet, "/products/17", "product 17, version 0\n", false},
		{http.MethodGet, "/products/17", "product 17, version 0\n", true},
		{http.MethodGet, "/products/18", "product 18, version 0\n", false},
		{http.MethodPut, "/products/17", "", false},
		{http.MethodGet, "/products", "product 17, version 1\n", false},
		{http.MethodGet, "/products/17", "product 17, version 1\n", false},
		{http.MethodGet, "/products/18", "product 18, version 0\n", true},
	} {
		w := httptest.NewRecorder()
		shop.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), step.method, step.path, nil))
		if hit := w.Header().Get("Age") != ""; w.Body.String() != step.text || hit != step.hit {
			t.Errorf("%s %s: %q, from the cache: %t; want %q, %t", step.method, step.path, w.Body, hit, step.text, step.hit)
		}
	}
}
