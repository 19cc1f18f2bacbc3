/** The colours of tokens.css, computed: WCAG 2.2, 1.4.3 (text 4.5 to 1) and 1.4.11 (parts and graphics 3 to 1). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from '../../support/suite';

const test = suite('contrast');
const css = readFileSync(join(import.meta.dirname, '../../../cloud/app/styles/tokens.css'), 'utf8');
const tokens = new Map(
  [...css.matchAll(/--([a-z-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)/g)].map(
    ([, name, light, dark]) => [name!, { light: light!, dark: dark! }] as const,
  ),
);

const TEXT = [
  ...['bg', 'surface', 'inset', 'hover', 'idle-soft', 'raised'].flatMap(ground => [
    ['text', ground],
    ['muted', ground],
  ]),
  ['accent', 'surface'],
  ['accent', 'bg'],
  ['accent', 'accent-soft'],
  ['on-accent', 'accent'],
  ['on-accent', 'accent-hover'],
  ...['ok', 'warn', 'bad'].flatMap(tone => [
    [tone, `${tone}-soft`],
    [tone, 'surface'],
  ]),
];
const GRAPHICS = [
  ['line-strong', 'surface'],
  ['line-strong', 'bg'],
  ['chart-down', 'surface'],
  ['chart-up', 'surface'],
  ['accent', 'inset'],
];

for (const look of ['light', 'dark'] as const)
  test(`every pair that the portal uses can be told apart, ${look}`, () => {
    assert.ok(tokens.size >= 20, `only ${tokens.size} colours were read`);
    const poor: string[] = [];
    for (const [pairs, least] of [
      [TEXT, 4.5],
      [GRAPHICS, 3],
    ] as const)
      for (const [ink, ground] of pairs) {
        const ratio = contrast(colour(ink!, look), colour(ground!, look));
        if (ratio < least) poor.push(`${ink} on ${ground}: ${ratio.toFixed(2)}, needs ${least}`);
      }
    assert.deepEqual(poor, []);
  });

function colour(name: string, look: 'light' | 'dark'): string {
  const token = tokens.get(name);
  assert.ok(token, `tokens.css has no --${name}`);
  return token[look];
}

function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
}

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map(at => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

test.run();
