/**
 * The only door to uvu. Plain uvu 0.5.6 exits 0 when a hook throws or `.run()` is forgotten, and a test that never
 * settles hangs for ever. Here hooks run inside the test bodies, so that a throwing hook fails its test; every test
 * has a deadline that names it; `after` becomes a last test; and a file that never calls `run()` fails at exit.
 *
 * `skip` takes the reason and says it aloud; with CI=true a skip is a failure, since CI must have everything.
 */
import { suite as uvuSuite } from 'uvu';
import { missingTools } from './tools';

type Body = () => void | Promise<void>;

export interface Suite {
  (name: string, body: Body, options?: { deadlineMs?: number }): void;
  before(hook: Body): void;
  beforeEach(hook: Body): void;
  afterEach(hook: Body): void;
  after(hook: Body): void;
  /** A test that this machine cannot run, and why. */
  skip(name: string, reason: string): void;
  run(): void;
}

/** For what hangs, not for what is slow: a busy machine takes ten times as long as an idle one. */
const DEFAULT_DEADLINE_MS = 120_000;
/** A file whose tests are over has this long to end by itself; what keeps it alive then was left open. */
const END_DEADLINE_MS = 30_000;
/** Suites of this process that have begun and not finished. */
let unfinished = 0;

/** `needs` names system programs without which none of its tests can run: they are then skipped, with the remedy. */
export function suite(title: string, options: { needs?: readonly string[] } = {}): Suite {
  const obstacle = missingTools(options.needs ?? []);
  const inner = uvuSuite(title);
  const hooks = {
    before: [] as Body[],
    beforeEach: [] as Body[],
    afterEach: [] as Body[],
    after: [] as Body[],
  };
  let begun: Promise<void> | undefined;
  let ran = false;
  let count = 0;

  process.once('exit', code => {
    if (!ran && code === 0) {
      console.error(`suite "${title}" never called run(): its tests did not run`);
      process.exitCode = 1;
    }
  });

  const begin = () => {
    begun ??= (async () => {
      for (const hook of hooks.before) await hook();
    })();
    return begun;
  };

  const skip = (name: string, reason: string): void => {
    count += 1;
    if (process.env.CI === 'true') {
      inner(name, () => {
        throw new Error(`not run in CI: ${reason}`);
      });
      return;
    }
    console.log(`NOT RUN  ${title}: ${name} (${reason})`);
    inner.skip(name);
  };

  const add = (name: string, body: Body, options: { deadlineMs?: number } = {}) => {
    if (obstacle !== undefined) return skip(name, obstacle);
    count += 1;
    inner(name, () =>
      limited(`${title}: ${name}`, Math.max(options.deadlineMs ?? 0, DEFAULT_DEADLINE_MS), async () => {
        await begin();
        for (const hook of hooks.beforeEach) await hook();
        try {
          await body();
        } finally {
          for (const hook of hooks.afterEach) await hook();
        }
      }),
    );
  };

  return Object.assign(add, {
    before: (hook: Body) => void hooks.before.push(hook),
    beforeEach: (hook: Body) => void hooks.beforeEach.push(hook),
    afterEach: (hook: Body) => void hooks.afterEach.push(hook),
    after: (hook: Body) => void hooks.after.push(hook),
    skip,
    run: () => {
      ran = true;
      if (count === 0) throw new Error(`suite "${title}" has no tests`);
      unfinished += 1;
      inner('leaves nothing behind', () =>
        limited(`${title}: after`, DEFAULT_DEADLINE_MS, async () => {
          try {
            if (obstacle === undefined) for (const hook of hooks.after) await hook();
          } finally {
            unfinished -= 1;
            if (unfinished === 0) mustEnd(title);
          }
        }),
      );
      inner.run();
    },
  });
}

/** Runs `body`; fails with the test's name when it takes longer than `ms`. */
function limited(name: string, ms: number, body: () => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${name}: no result after ${ms} ms`)), ms);
    body().then(
      () => {
        clearTimeout(timer);
        resolve();
      },
      error => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

/** Ends a process that a leaked handle keeps alive, naming what kind of handle; the timer itself keeps nothing alive. */
function mustEnd(title: string): void {
  setTimeout(() => {
    if (unfinished > 0) return;
    const open = process.getActiveResourcesInfo().join(', ');
    console.error(`suite "${title}" left something open ${END_DEADLINE_MS} ms ago: ${open}`);
    process.exit(1);
  }, END_DEADLINE_MS).unref();
}
