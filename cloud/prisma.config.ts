/**
 * Where Prisma's own commands find things. The server does not read this: it gets its connection from
 * server/config.ts and applies migrations itself (server/db/migrate.ts).
 */
import { defineConfig } from 'prisma/config';

export default defineConfig({
  schema: 'prisma/schema',
  migrations: { path: 'prisma/migrations' },
});
