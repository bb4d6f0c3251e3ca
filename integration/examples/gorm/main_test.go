package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/uprung/uprung/internal/testserver"
)

func TestCustomersSeeTheirOrders(t *testing.T) {
	primary := testserver.Postgres(t)
	var out strings.Builder
	if err := run(t.Context(), &out, []string{primary.DSN(), primary.Replica().DSN(), primary.Replica().DSN()}); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	var reads, replicas, missed int
	if _, err := fmt.Sscanf(out.String(), "%d reads, %d of them at standbys; %d missed", &reads, &replicas, &missed); err != nil {
		t.Fatal(err)
	}
	if reads != 200 || replicas == 0 || missed != 0 {
		t.Errorf("%d reads, %d at standbys, %d missed; want 200, some, 0", reads, replicas, missed)
	}
}
