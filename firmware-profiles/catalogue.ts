/**
 * Reads the profiles of a folder (`<vendor>/<model>.json`) and checks each against the schema. A file added there is
 * a model added: nothing else names it. What a profile may say is shared/src/profile/schema.ts, which one fits is
 * shared/src/profile/match.ts.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { Profile } from '@mastline/shared/profile/schema';

/** Far above any real profile (about 6 KB). */
const MAX_PROFILE_BYTES = 128 * 1024;
/** A file that every complete folder has. */
const LANDMARK = 'generic/at.json';

/**
 * All profiles of `directory`, sorted by id. Throws `profile/no-catalogue` when there are none, `profile/invalid`
 * with every problem of a file that does not fit, `profile/misplaced` when the id is not the path.
 */
export function loadCatalogue(directory: string = catalogueDirectory()): Profile[] {
  const files = vendorFolders(directory).flatMap(vendor =>
    readdirSync(join(directory, vendor))
      .filter(name => name.endsWith('.json'))
      .map(name => join(vendor, name)),
  );
  if (files.length === 0)
    throw new CodedError('profile/no-catalogue', `no firmware profiles in ${directory}`, {
      userMessage: `There are no firmware profiles in ${directory}. Give the folder that holds ${LANDMARK}.`,
    });
  return files.sort().map(file => loadProfile(directory, file));
}

/** Checks a profile that came from elsewhere (desired state). `origin` says where, for the error. */
export function parseProfile(value: unknown, origin: string): Profile {
  return parseOrExplain(Profile, value, `firmware profile ${origin}`, 'profile/invalid');
}

/**
 * The profiles that come with the program: beside this file in a checkout, beside or above a bundle.
 * Throws `profile/no-catalogue`.
 */
export function catalogueDirectory(moduleUrl: string = import.meta.url): string {
  const here = dirname(fileURLToPath(moduleUrl));
  const above = ['firmware-profiles', '../../firmware-profiles', '../../../firmware-profiles'];
  const places = [here, ...above.map(path => join(here, path))];
  const found = places.find(place => existsSync(join(place, LANDMARK)));
  if (found !== undefined) return found;
  throw new CodedError('profile/no-catalogue', `no firmware profiles in ${places.join(' or ')}`, {
    userMessage: `The firmware profiles are missing (looked in ${places.join(', ')}). Install Mastline again.`,
  });
}

function vendorFolders(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter(entry => entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules')
    .map(entry => entry.name);
}

function loadProfile(directory: string, file: string): Profile {
  const bytes = readFileSync(join(directory, file));
  if (bytes.length > MAX_PROFILE_BYTES)
    throw new CodedError(
      'profile/invalid',
      `firmware profile ${file} is ${bytes.length} bytes long; at most ${MAX_PROFILE_BYTES} are read`,
    );
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new CodedError('profile/invalid', `firmware profile ${file} is not JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const profile = parseProfile(value, file);
  const wanted = `${dirname(file)}/${basename(file, '.json')}`;
  if (profile.id !== wanted)
    throw new CodedError('profile/misplaced', `firmware profile ${file}: id is "${profile.id}"`, {
      userMessage: `firmware profile ${file}: id must be "${wanted}", the same as its path.`,
    });
  return profile;
}
