package sqlclass

// command classifies a statement by its first word, which is not that of a read.
// The pass stands at the token after it.
func (p *pass) command() Statement {
	session := func(e Effects) Statement { return Statement{Class: Session, Effects: e} }
	mysql := p.dialect == MySQL
	switch p.verb {
	case kWriter, kInsert, kDelete, kUpdate, kAnalyze, kReplace:
		return Statement{Class: Write}
	case kCreate, kDrop:
		s := Statement{Class: Write}
		if p.word == kTemporary {
			s.Effects = TempTable
		}
		if p.word == kPrepare {
			return session(Prepared)
		}
		return s
	case kSet:
		return p.set()
	case kReset, kDiscard:
		if mysql {
			return Statement{Class: Write} // RESET MASTER
		}
		return session(Setting)
	case kUse:
		if mysql {
			return session(Setting)
		}
		return Statement{}
	case kListen:
		return session(Listen)
	case kPrepare:
		if p.word == kTransaction {
			return Statement{Class: Transaction, Tx: Commit}
		}
		return session(Prepared)
	case kDeallocate:
		return session(Prepared)
	case kExecute:
		return Statement{Class: Unsure, Effects: Prepared}
	case kDeclare, kFetch, kClose, kHandler:
		return session(Cursor)
	case kLoad:
		if mysql {
			return Statement{Class: Write} // LOAD DATA
		}
		return Statement{Class: Unsure, Effects: Setting} // a library
	case kLock:
		s := Statement{Class: Write}
		if mysql {
			s.Effects = Lock // of PostgreSQL it ends with the transaction
		}
		return s
	case kUnlock:
		return session(Lock)
	case kShow:
		return Statement{Class: Unsure, Reason: ByNode}
	case kDescribe:
		return Statement{Class: Unsure, Reason: ByCatalog}
	}
	return p.transaction()
}

// set classifies SET.
func (p *pass) set() Statement {
	s := Statement{Class: Session, Effects: Setting}
	if p.dialect == PostgreSQL {
		switch p.word {
		case kLocal, kTransaction, kConstraints:
			s.Effects = 0 // it ends with the transaction
		}
		return s
	}
	switch p.word {
	case kGlobal, kStatement:
		s.Class = Unsure // SET GLOBAL, PERSIST, PASSWORD, or SET STATEMENT .. FOR and another statement
	}
	// The values are expressions: a subquery, a function.
	p.scan()
	if p.wrote != IsRead || p.unsure == ByFunction {
		s.Class = Unsure
	}
	return s
}

// transaction classifies the statements that control transactions, and those
// that are not known.
func (p *pass) transaction() Statement {
	control := func(tx Tx) Statement { return Statement{Class: Transaction, Tx: tx} }
	switch p.verb {
	case kBegin:
		if p.dialect == MySQL {
			if p.word == kWork {
				p.advance()
			}
			if !p.done() {
				return Statement{Reason: BySyntax} // BEGIN NOT ATOMIC, a block of statements
			}
		}
		return control(p.modes())
	case kStart:
		if p.word != kTransaction {
			return Statement{Class: Write} // START REPLICA
		}
		return control(p.modes())
	case kEnd:
		if p.dialect == MySQL {
			return Statement{}
		}
		return control(p.ending(Commit))
	case kCommit, kRollback:
		if p.word == kPrepared {
			return Statement{Class: Write}
		}
		if p.verb == kCommit {
			return control(p.ending(Commit))
		}
		return control(p.ending(Rollback))
	case kSavepoint, kRelease:
		return control(Savepoint)
	}
	return Statement{}
}

// modes reads the modes of a transaction that begins. A standby of PostgreSQL
// gives no serializable one.
func (p *pass) modes() Tx {
	tx, serializable := Begin, false
	for ; !p.done(); p.advance() {
		switch {
		case p.word == kOnly && p.p1 == kRead:
			tx = BeginReadOnly
		case p.word == kWrite && p.p1 == kRead:
			tx = Begin
		case p.word == kSerializable:
			serializable = true
		}
	}
	if serializable {
		return Begin
	}
	return tx
}

// ending reads what follows COMMIT or ROLLBACK.
func (p *pass) ending(tx Tx) Tx {
	for ; !p.done(); p.advance() {
		switch {
		case p.word == kTo:
			return Savepoint
		case p.word == kChain && p.p1 != kNo:
			return Chain
		}
	}
	return tx
}
