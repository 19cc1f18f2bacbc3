/** Which version this is: the package's own word. */
import { readFileSync } from 'node:fs';
import { cloudPath } from './paths';

export const VERSION: string = (
  JSON.parse(readFileSync(cloudPath('package.json'), 'utf8')) as { version: string }
).version;
