package compile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProgramsTellWhatTheyUse(t *testing.T) {
	w := shop(t)
	w.must("CREATE VIEW v AS SELECT id FROM customer")
	for _, k := range []struct {
		sql  string
		want []string
	}{
		{"SELECT name FROM customer WHERE id = 1", []string{"SELECT dbo.customer [id name]"}},
		{"SELECT COUNT(*) FROM customer", []string{"SELECT dbo.customer []"}},
		{"SELECT * FROM v", []string{"SELECT dbo.v [id]"}},
		{"UPDATE customer SET city = 'x'", []string{"UPDATE dbo.customer []"}},
		{"UPDATE customer SET city = 'x' WHERE id = 1", []string{"SELECT dbo.customer [id]", "UPDATE dbo.customer []"}},
		{"DELETE FROM orders WHERE customer_id IN (SELECT id FROM v)", []string{"SELECT dbo.orders [customer_id]", "SELECT dbo.v [id]", "DELETE dbo.orders []"}},
		{"INSERT INTO orders (customer_id, amount) SELECT id, 1 FROM customer", []string{"INSERT dbo.orders []", "SELECT dbo.customer [id]"}},
	} {
		t.Run(k.sql, func(t *testing.T) {
			var got []string
			for _, u := range program(t, w, k.sql).Uses {
				text := u.Action + " " + u.Schema + "." + u.Name + " ["
				for i, c := range u.Columns {
					if i > 0 {
						text += " "
					}
					text += c
				}
				got = append(got, text+"]")
			}
			if diff := cmp.Diff(k.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
