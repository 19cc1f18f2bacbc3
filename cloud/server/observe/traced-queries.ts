/**
 * Statements as spans, by what they do to which table: `SELECT nodes`. Only within a span that is recorded, and only put
 * in place when traces are collected. Wraps the pool, so that Prisma's statements are seen as ours are.
 */
import type pg from 'pg';
import { beginSpan, endSpan, inThisContext, isRecording } from './spans';

type Query = (...args: unknown[]) => unknown;

/** Wraps every client that the pool hands out, once. */
export function traceQueries(pool: pg.Pool): void {
  const wrapped = new WeakSet<object>();
  const wrap = <C extends object>(client: C): C => {
    if (wrapped.has(client)) return client;
    wrapped.add(client);
    const asked = client as { query: Query };
    const query = asked.query.bind(client);
    asked.query = (...args) => traced(query, args);
    return client;
  };
  type Give = (error: Error | undefined, client: pg.PoolClient | undefined, release: unknown) => void;
  const connect = pool.connect.bind(pool) as (give?: Give) => Promise<pg.PoolClient> | undefined;
  // Whoever waits for a client gets it out of another's release: the callback goes on in its own context.
  const tracedConnect = (give?: Give) =>
    give === undefined
      ? connect()?.then(wrap)
      : connect(
          inThisContext<Give>((error, client, release) => give(error, client && wrap(client), release)),
        );
  pool.connect = tracedConnect as typeof pool.connect;
}

function traced(query: Query, args: unknown[]): unknown {
  if (!isRecording()) return query(...args);
  const { name, operation } = nameOf(args[0]);
  const span = beginSpan(name, {
    kind: 'out',
    attributes: { 'db.system.name': 'postgresql', 'db.operation.name': operation },
  });
  const last = args.at(-1);
  if (typeof last === 'function') {
    const done = inThisContext((error: unknown, result: unknown) => {
      endSpan(span, error ?? undefined);
      last(error, result);
    });
    return query(...args.slice(0, -1), done);
  }
  const answer = query(...args);
  if (answer instanceof Promise)
    answer.then(
      () => endSpan(span),
      error => endSpan(span, error),
    );
  else endSpan(span);
  return answer;
}

/** What is written to comes before what is read; a function and a column are no tables. */
const NAME = String.raw`\s+(?:ONLY\s+)?"?(?:public"?\.)?"?([a-z_]+)\b(?!\.)`;
const WRITTEN = new RegExp(String.raw`(?:\bINTO|(?<!\bFOR\s)\bUPDATE|\bDELETE\s+FROM)${NAME}`, 'i');
const READ = new RegExp(String.raw`\b(?:FROM|JOIN)${NAME}(?!\s*\()`, 'i');

/** What a statement does and the first table it names; nothing else of its text. Exported for its test. */
export function nameOf(statement: unknown): { name: string; operation: string } {
  const text =
    typeof statement === 'string'
      ? statement
      : typeof statement === 'object' && statement !== null && 'text' in statement
        ? String(statement.text)
        : '';
  const first = /^\s*([a-z]+)/i.exec(text)?.[1]?.toUpperCase() ?? 'QUERY';
  const operation =
    first === 'WITH' ? (/\b(INSERT|UPDATE|DELETE)\b/i.exec(text)?.[1]?.toUpperCase() ?? 'SELECT') : first;
  const table = (WRITTEN.exec(text) ?? READ.exec(text))?.[1];
  return { name: table === undefined ? operation : `${operation} ${table}`, operation };
}
