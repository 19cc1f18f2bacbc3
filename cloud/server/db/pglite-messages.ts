/** What the server and its database thread tell each other. */
export type PgliteMessage = { is: 'ready' } | { is: 'failed'; message: string } | { is: 'stop' };

/** The name PostgreSQL clients look for in a socket folder, for port 5432. */
export const PGLITE_SOCKET_NAME = '.s.PGSQL.5432';
