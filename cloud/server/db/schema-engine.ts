/**
 * Prisma's schema engine as WebAssembly: no binary to download, and `_prisma_migrations` kept the way Prisma keeps it.
 * Its package is meant for Prisma's own CLI and exports no loader for Node, hence the loading by hand. Used by
 * migrate.ts, and by the test that compares schema and migrations.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import type * as Engine from '@prisma/schema-engine-wasm/schema_engine_bg';
import type pg from 'pg';

export type SchemaEngine = Engine.SchemaEngine;

let loaded: Promise<typeof Engine> | undefined;

async function load(): Promise<typeof Engine> {
  const path = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg');
  const engine = (await import(pathToFileURL(path).href)) as typeof Engine & {
    __wbg_set_wasm(exports: unknown): void;
  };
  const wasm = new WebAssembly.Module(readFileSync(join(dirname(path), 'schema_engine_bg.wasm')));
  const instance = new WebAssembly.Instance(wasm, {
    './schema_engine_bg.js': engine as unknown as WebAssembly.ModuleImports,
  });
  engine.__wbg_set_wasm(instance.exports);
  (instance.exports.__wbindgen_start as () => void)();
  return engine;
}

/** An engine on the database behind `pool`. `free()` it when done. */
export async function openSchemaEngine(
  pool: pg.Pool,
  datamodels: [path: string, content: string][] = [],
): Promise<SchemaEngine> {
  loaded ??= load();
  const engine = await loaded;
  const adapter = bindMigrationAwareSqlAdapterFactory(wholeScripts(new PrismaPg(pool), pool));
  return engine.SchemaEngine.new(
    { datamodels: datamodels.length > 0 ? datamodels : undefined },
    () => {},
    adapter,
  );
}

/**
 * The adapter cuts scripts at every semicolon, also those in comments and texts. Sent whole they are parsed by
 * PostgreSQL, and run in one implicit transaction: a migration that fails half-way leaves nothing behind.
 */
function wholeScripts(factory: PrismaPg, pool: pg.Pool): PrismaPg {
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    adapter.executeScript = async script => {
      await pool.query(script);
    };
    return adapter;
  };
  return factory;
}
