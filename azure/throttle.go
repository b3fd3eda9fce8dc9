package azure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// BudgetError says that a call was not made, or not made again, since its turn
// would not have come in time: the service limits how many its caller makes.
type BudgetError struct {
	Of        string        // such as: reads of subscription 0000…
	Waited    time.Duration // so far
	Wait      time.Duration // that it would have to wait at the least; 0 where that is not known
	Refused   bool          // the service has refused such calls; else they are kept back in time
	Change    bool          // the call would have changed something
	Attempted bool          // the call was sent before, and may have taken effect
	Err       error         // the context's, where its time ended
}

// Error says what happened and for how long.
func (e *BudgetError) Error() string {
	why := "near the limit of what Azure lets this identity call"
	if e.Refused {
		why = "throttled by Azure"
	}
	text := fmt.Sprintf("%s are %s: waited %s", e.Of, why, e.Waited.Round(time.Millisecond))
	if e.Wait > 0 {
		text += fmt.Sprintf(", and would have to wait %s more at the least", e.Wait.Round(time.Millisecond))
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the context's error, where its time ended.
func (e *BudgetError) Unwrap() error { return e.Err }

// NonRetriable tells the SDK not to try again.
func (e *BudgetError) NonRetriable() {}

// hint says what a person can do.
func (e *BudgetError) hint() string {
	return "try again later; what else signs in as the same identity shares its limit: let it rest, or give crosskeys an identity of its own"
}

const (
	remainingPrefix = "X-Ms-Ratelimit-Remaining-"
	// globalShare: the limit for all principals together is so many times that
	// of one.
	globalShare = 15
	// scarce is how many calls of a provider's own limit count as its reserve:
	// its size is not told.
	scarce = 10
)

// remaining is how many calls an answer says are left to its caller, by the
// scarcest of the limits that it tells of, in terms of Resource Manager's own
// limit for one principal; -1 where it tells of none.
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling#remaining-requests
func remaining(header http.Header) float64 {
	least := -1.0
	for name, values := range header {
		limited, is := strings.CutPrefix(name, remainingPrefix)
		if !is {
			continue
		}
		for _, value := range values {
			if left := remainingOf(strings.ToLower(limited), value); left >= 0 && (least < 0 || left < least) {
				least = left
			}
		}
	}
	return least
}

// remainingOf reads one header: a number, or a provider's list such as
// Microsoft.Compute/HighCostGet3Min;159,Microsoft.Compute/HighCostGet30Min;1259.
func remainingOf(limited, value string) float64 {
	if limited == "resource" {
		least := -1.0
		for entry := range strings.SplitSeq(value, ",") {
			_, number, _ := strings.Cut(entry, ";")
			left := count(number)
			if left >= 0 && left < scarce {
				left *= readLimit.reserve / scarce
				if least < 0 || left < least {
					least = left
				}
			}
		}
		return least
	}
	left := count(value)
	if left > 0 && strings.Contains(limited, "global-") {
		left /= globalShare
	}
	return left
}

func count(text string) float64 {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
	if err != nil {
		return -1
	}
	return float64(n)
}

// isThrottled reports whether an answer refuses a call for there having been
// too many: 429, or the SQL provider's 503 TooManyRequests.
// Source: https://learn.microsoft.com/rest/api/sql/servers/list (error codes)
func isThrottled(answer *http.Response) bool {
	switch answer.StatusCode {
	case http.StatusTooManyRequests:
		return true
	case http.StatusServiceUnavailable:
		body, err := runtime.Payload(answer)
		return err == nil && codeIn(body) == "TooManyRequests"
	}
	return false
}

// codeIn reads the code of a refusal.
func codeIn(body []byte) string {
	var answer struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Error.Code
}
