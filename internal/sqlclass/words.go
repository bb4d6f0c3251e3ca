package sqlclass

// word is what a token means to the classifier: one of the kinds below, a symbol
// by its byte, or a keyword.
type word uint16

const (
	none   word = iota // before the first token
	name               // an identifier that is no keyword, or is qualified
	quote              // a quoted identifier
	value              // a string, number or parameter
	castTo             // ::

	symbols word = 256 // a symbol is symbols + its byte
)

// The keywords that matter by themselves.
const (
	kAnalyze word = 512 + iota
	kAs
	kBegin
	kBy
	kCalcFoundRows
	kChain
	kCharacter // and the other types that may be VARYING
	kClose
	kCommit
	kConstraints
	kCreate
	kDeallocate
	kDeclare
	kDelete
	kDescribe
	kDiscard
	kDrop
	kEnd
	kExecute
	kExplain
	kExtended
	kFetch
	kFilter // OVER and others that follow a parenthesis or a literal
	kFor
	kFormat
	kGlobal
	kGroup
	kGrouping
	kHandler
	kInsert
	kInto
	kJoin // and ILIKE
	kKey
	kListen
	kLoad
	kLocal
	kLock
	kMaterialized
	kNo
	kNot
	kOnly
	kOrder
	kOuter // and LEFT, RIGHT, FULL, INNER, CROSS, NATURAL
	kPartition
	kPartitions
	kPrepare
	kPrepared
	kProcedure
	kRead
	kRecursive
	kRegclass // and the other types whose input asks the catalog
	kRelease
	kReplace
	kReset
	kRollback
	kRollup // and CUBE
	kSample // the methods of TABLESAMPLE
	kSavepoint
	kSelect
	kSerializable
	kSet
	kSets
	kShare
	kShow
	kSome // and ANY
	kStart
	kStatement
	kTable
	kTablesample
	kTemporary
	kTo
	kTransaction
	kUnlock
	kUpdate
	kUse
	kValue
	kValues
	kVarying
	kVerbose
	kWith
	kWork
	kWrite
	kWriter // verbs that write and say no more

	kReserved   // reserved in both dialects, and may stand before a parenthesis
	kReservedPG // the same in PostgreSQL only
	kReservedMy // the same in MySQL only
)

// keyword returns the meaning of an identifier in lower case.
func keyword(s []byte) word {
	switch string(s) { // no copy is made
	case "alter", "call", "cluster", "comment", "copy", "do", "grant", "notify", "refresh", "reindex", "revoke",
		"truncate", "vacuum", "checkpoint", "reassign", "import", "security",
		"optimize", "rename", "repair", "flush", "kill", "install", "uninstall", "purge", "change", "binlog", "cache", "stop":
		return kWriter
	case "analyze", "analyse":
		return kAnalyze
	case "as":
		return kAs
	case "begin":
		return kBegin
	case "by":
		return kBy
	case "sql_calc_found_rows":
		return kCalcFoundRows
	case "char", "character", "nchar", "bit", "national":
		return kCharacter
	case "chain":
		return kChain
	case "close", "move":
		return kClose
	case "commit":
		return kCommit
	case "constraints":
		return kConstraints
	case "create":
		return kCreate
	case "deallocate":
		return kDeallocate
	case "declare":
		return kDeclare
	case "delete":
		return kDelete
	case "desc", "describe":
		return kDescribe
	case "discard":
		return kDiscard
	case "drop":
		return kDrop
	case "end":
		return kEnd
	case "execute":
		return kExecute
	case "explain":
		return kExplain
	case "extended":
		return kExtended
	case "fetch":
		return kFetch
	case "filter", "over", "against", "repeatable", "columns":
		return kFilter
	case "for":
		return kFor
	case "format":
		return kFormat
	case "global", "persist", "persist_only", "password", "default":
		return kGlobal
	case "group":
		return kGroup
	case "grouping":
		return kGrouping
	case "handler":
		return kHandler
	case "insert", "merge":
		return kInsert
	case "into":
		return kInto
	case "join", "ilike":
		return kJoin
	case "key":
		return kKey
	case "listen", "unlisten":
		return kListen
	case "load":
		return kLoad
	case "local":
		return kLocal
	case "lock":
		return kLock
	case "materialized":
		return kMaterialized
	case "no":
		return kNo
	case "not":
		return kNot
	case "only":
		return kOnly
	case "order":
		return kOrder
	case "left", "right", "full", "inner", "outer", "cross", "natural", "straight_join":
		return kOuter
	case "partition":
		return kPartition
	case "partitions":
		return kPartitions
	case "prepare":
		return kPrepare
	case "prepared":
		return kPrepared
	case "procedure":
		return kProcedure
	case "read":
		return kRead
	case "recursive":
		return kRecursive
	case "regclass", "regproc", "regprocedure", "regoper", "regoperator", "regtype", "regrole", "regnamespace", "regcollation":
		return kRegclass
	case "release":
		return kRelease
	case "replace":
		return kReplace
	case "reset":
		return kReset
	case "rollback", "abort":
		return kRollback
	case "rollup", "cube":
		return kRollup
	case "savepoint":
		return kSavepoint
	case "select":
		return kSelect
	case "serializable":
		return kSerializable
	case "set":
		return kSet
	case "system", "bernoulli":
		return kSample
	case "tablesample":
		return kTablesample
	case "any", "some":
		return kSome
	case "sets":
		return kSets
	case "share":
		return kShare
	case "show":
		return kShow
	case "start":
		return kStart
	case "statement":
		return kStatement
	case "table":
		return kTable
	case "temp", "temporary":
		return kTemporary
	case "to":
		return kTo
	case "transaction":
		return kTransaction
	case "unlock":
		return kUnlock
	case "update":
		return kUpdate
	case "use":
		return kUse
	case "value":
		return kValue
	case "values":
		return kValues
	case "varying":
		return kVarying
	case "verbose":
		return kVerbose
	case "with":
		return kWith
	case "work":
		return kWork
	case "write":
		return kWrite
	case "all", "and", "case", "distinct", "else", "exists", "from", "having", "in", "like", "limit", "on", "or",
		"then", "union", "using", "when", "where", "between", "except", "intersect", "lateral",
		"dec", "decimal", "float", "int", "integer", "interval", "numeric", "varchar":
		return kReserved
	case "array", "offset", "row", "symmetric", "asymmetric", "returning", "variadic",
		"time", "timestamp", "xmltable", "xmlnamespaces":
		return kReservedPG
	case "binary", "div", "mod", "regexp", "rlike", "xor", "index", "varbinary", "match":
		return kReservedMy
	}
	return name
}
