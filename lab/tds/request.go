package tds

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// skipHeaders reads ALL_HEADERS, which stand before a batch, a call and a
// transaction manager request. What they say (the transaction that the client
// believes to be in, its trace ids) changes nothing here.
// Source: MS-TDS 2.2.5.3
func skipHeaders(s *scanner) {
	total := int64(s.u32())
	if s.err == nil && (total < 4 || total-4 > int64(s.left())) {
		s.fail(malformed("headers of %d bytes", total))
	}
	if s.err != nil {
		return
	}
	headers := &scanner{data: s.take(int(total) - 4)}
	for headers.left() > 0 {
		length := int64(headers.u32())
		if headers.err != nil || length < 6 || length-4 > int64(headers.left()) {
			s.fail(malformed("a header of %d bytes", length))
			return
		}
		headers.take(int(length) - 4)
	}
}

// parseBatch gives the text of a SQL batch.
// Source: MS-TDS 2.2.6.7
func parseBatch(body []byte) (string, error) {
	s := &scanner{data: body}
	skipHeaders(s)
	if s.err == nil && s.left()%2 != 0 {
		s.fail(malformed("a batch of %d bytes", s.left()))
	}
	return decodeUTF16(s.take(s.left())), s.err
}

// The transaction manager requests by number.
// Source: MS-TDS 2.2.6.9
const (
	requestGetDTCAddress = 0
	requestPropagate     = 1
	requestBegin         = 5
	requestPromote       = 6
	requestCommit        = 7
	requestRollback      = 8
	requestSave          = 9
)

// parseTransaction reads a transaction manager request. A distributed one is
// refused with a sqltype.Message.
func parseTransaction(body []byte) (sqltype.TransactionRequest, error) {
	s := &scanner{data: body}
	skipHeaders(s)
	var r sqltype.TransactionRequest
	switch number := s.u16(); number {
	case requestBegin:
		r.Kind = sqltype.BeginTransaction
		r.Isolation, r.Name = isolation(s), transactionName(s)
	case requestCommit, requestRollback:
		r.Kind = sqltype.CommitTransaction
		if number == requestRollback {
			r.Kind = sqltype.RollbackTransaction
		}
		r.Name = transactionName(s)
		if r.Begin = s.u8()&1 != 0; r.Begin {
			r.Isolation, r.BeginName = isolation(s), transactionName(s)
		}
	case requestSave:
		r.Kind, r.Name = sqltype.SaveTransaction, transactionName(s)
	case requestGetDTCAddress, requestPropagate, requestPromote:
		if s.err == nil {
			return r, unsupported("distributed transaction")
		}
	default:
		s.fail(malformed("the transaction manager request %d", number))
	}
	return r, s.err
}

func isolation(s *scanner) sqltype.Isolation {
	level := sqltype.Isolation(s.u8())
	if level > sqltype.Snapshot {
		s.fail(malformed("the isolation level %d", level))
	}
	return level
}

// transactionName reads a name with its length in bytes.
func transactionName(s *scanner) string { return decodeUTF16(s.take(int(s.u8()))) }

// specialProcedures are the procedures that have numbers.
// Source: MS-TDS 2.2.6.6
var specialProcedures = [...]string{
	1: "sp_cursor", 2: "sp_cursoropen", 3: "sp_cursorprepare", 4: "sp_cursorexecute", 5: "sp_cursorprepexec", 6: "sp_cursorunprepare",
	7: "sp_cursorfetch", 8: "sp_cursoroption", 9: "sp_cursorclose", 10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute",
	13: "sp_prepexec", 14: "sp_prepexecrpc", 15: "sp_unprepare",
}

const (
	procedureByNumber = 0xFFFF
	nextCall          = 0xFF // between two calls of a request
	nextCallNoExecute = 0xFE
	maxName           = 128 // characters, of a parameter; longer is a separator
	maxProcedureName  = 4 * 130
	maxParams         = 2100

	paramByReference = 0x01
	paramDefault     = 0x02
	paramEncrypted   = 0x08
)

// parseCalls reads a request of one or several remote procedure calls. A
// parameter that the server does not take is a sqltype.Message: what follows
// it cannot be read then.
func parseCalls(body []byte) ([]sqltype.Call, error) {
	s := &scanner{data: body}
	skipHeaders(s)
	var calls []sqltype.Call
	for execute := true; s.err == nil; {
		call, separator, err := parseCall(s)
		if err != nil {
			return nil, err
		}
		if execute {
			calls = append(calls, call)
		}
		if separator == 0 || s.left() == 0 {
			break
		}
		execute = separator == nextCall
	}
	return calls, s.err
}

// parseCall reads one call, and the separator after it: 0 at the end.
func parseCall(s *scanner) (call sqltype.Call, separator byte, err error) {
	if call.Procedure, err = procedureName(s); err != nil {
		return call, 0, err
	}
	s.u16() // recompile, no metadata: hints
	for s.err == nil && s.left() > 0 {
		if next := s.data[s.at]; next > maxName {
			s.u8()
			if next != nextCall && next != nextCallNoExecute && next != 0x80 {
				return call, 0, malformed("a parameter's name of %d characters", next)
			}
			return call, next, s.err
		}
		if len(call.Params) == maxParams {
			return call, 0, tooManyParams()
		}
		p, given, err := parseParam(s)
		if err != nil {
			return call, 0, err
		}
		if given {
			call.Params = append(call.Params, p)
		}
	}
	return call, 0, s.err
}

func tooManyParams() sqltype.Message {
	return sqltype.Message{Number: 8003, Class: 16, State: 1, Line: 1,
		Text: "The incoming request has too many parameters. The server supports a maximum of 2100 parameters. Reduce the number of parameters and resend the request."}
}

func procedureName(s *scanner) (string, error) {
	length := int(s.u16())
	if length == procedureByNumber {
		number := int(s.u16())
		if s.err == nil && (number == 0 || number >= len(specialProcedures)) {
			return "", malformed("the procedure number %d", number)
		}
		return specialProcedures[number], s.err
	}
	if length == 0 || length > maxProcedureName {
		s.fail(malformed("a procedure's name of %d characters", length))
	}
	return decodeUTF16(s.take(2 * length)), s.err
}

// parseParam reads a parameter. One that is to have its default is not given:
// the procedure then takes it.
func parseParam(s *scanner) (p sqltype.Param, given bool, err error) {
	p.Name = s.text8()
	status := s.u8()
	if status&paramEncrypted != 0 {
		return p, false, unsupported("encrypted parameter")
	}
	w, err := readTypeInfo(s)
	if err != nil {
		return p, false, err
	}
	p.Type, p.Output = w.Type, status&paramByReference != 0
	if p.Value, err = readValue(s, w); err != nil {
		return p, false, err
	}
	if status&paramDefault == 0 {
		return p, true, nil
	}
	if p.Name == "" {
		return p, false, unsupported("default parameter without a name")
	}
	return p, false, nil
}
