import { access, constants, readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve, sep } from 'node:path';
import type { ConfigNode } from '../documents/config-node.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import { leadsOut } from '../secrets/within.ts';

export interface WrittenFile {
  file?: string | undefined;
}

export interface WrittenSource extends WrittenFile {
  env?: string | undefined;
}

export type Sources = ReturnType<typeof createSources>;
export type UsedSources = Sources['used'];

/**
 * Reads the sources of secrets, keys and certificates, and remembers them for `reportMissing`.
 * @param within all files must be in one of these folders, and no link may lead out of it
 */
export function createSources(configFile: string, within?: readonly string[]) {
  const base = dirname(configFile);
  /** Files that cambist writes. */
  const outputs: { full: string; node: ConfigNode }[] = [];
  const found: { full: string; written: string; node: ConfigNode; minLength: number }[] = [];
  const variables: { name: string; named: string; node: ConfigNode; minLength: number }[] = [];

  /** Relative to the folder of the config file. */
  const resolved = (path: string): string => (isAbsolute(path) ? path : join(base, path));

  function file(path: string, node: ConfigNode, minLength = 0): string {
    const full = within === undefined ? resolved(path) : resolve(base, path);
    const isInside = within?.some((folder) => full.startsWith(`${resolve(folder)}${sep}`)) ?? true;
    if (!isInside) {
      node.error('is in no folder that the entry names in files: move it, or let the operator grant its folder');
    }
    found.push({ full, written: path, node, minLength });
    return full;
  }

  /** Resolves the path of a file that cambist writes. Its folder must exist. */
  function output(path: string, node: ConfigNode): string {
    const full = resolved(path);
    outputs.push({ full, node });
    return full;
  }

  function fileSource(path: string, node: ConfigNode, minLength = 0): CredentialSource {
    return { file: file(path, node, minLength), ...(within !== undefined && { within }) };
  }

  /** Reads `{ file }` or `{ env }`. @param minLength in characters, which a key must have */
  function credential(written: WrittenSource, node: ConfigNode, minLength = 0): CredentialSource | undefined {
    if (written.file !== undefined && written.env !== undefined) {
      node.error('has both "file" and "env": remove one');
    } else if (written.file !== undefined) {
      return fileSource(written.file, node.at('file'), minLength);
    } else if (written.env !== undefined) {
      const name = written.env;
      // An unusual name could be the secret itself, written in the wrong place.
      const named = /^[A-Z][A-Z0-9_]*$/.test(name) ? `environment variable "${name}"` : 'the environment variable';
      variables.push({ name, named, node: node.at('env'), minLength });
      return { env: name };
    } else if (!node.broken) {
      node.error('has neither "file" nor "env": write { file: /path/to/it } or { env: NAME_OF_VARIABLE }');
    }
    return undefined;
  }

  /**
   * Warns of missing files and environment variables, and of keys that are too short.
   * @param needsVariables reports missing variables as errors, because a running process never gets them
   */
  async function reportMissing(needsVariables: boolean): Promise<void> {
    for (const { name, named, node, minLength } of variables) {
      const value = process.env[name] ?? '';
      if (value !== '' && value.trimEnd().length < minLength) node.warn(`${named} ${tooShort(minLength)}`);
      if (value !== '') continue;
      if (needsVariables) node.error(`${named} is not set: set it for this process`);
      else node.warn(`${named} is not set here: set it where cambist runs`);
    }
    for (const { full, written, node, minLength } of found) {
      // A path without a slash could be the secret itself, written in the wrong place.
      const named = written.includes('/') ? `file "${full}"` : 'the file';
      // A team learns nothing about other files. A missing file has its warning.
      if (within !== undefined) {
        if (node.broken) continue;
        if (await leadsOut(full, within).catch(() => false)) {
          node.error(`${named} is a link that leads out of the folders in files: replace it by the file itself`);
          continue;
        }
      }
      const fault = await faultOf(full, minLength);
      if (fault !== undefined) node.warn(`${named} ${fault}`);
    }
    for (const { full, node } of outputs) {
      const parent = dirname(full);
      await access(parent, constants.W_OK).catch(() => {
        node.warn(`folder "${parent}" cannot be written here: create it where cambist runs, writable for its user`);
      });
    }
  }

  return {
    base,
    file,
    fileSource,
    output,
    folder: resolved,
    credential,
    reportMissing,
    used: { files: found, outputs, variables },
  };
}

/** @returns what is wrong with a file, and the fix */
async function faultOf(path: string, minLength: number): Promise<string | undefined> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) return 'is a folder here: name the file in it';
    if (found.isFile() && found.size === 0) return 'is empty here: write the value into it where cambist runs';
    await access(path, constants.R_OK);
    // A character has at most four bytes in UTF-8.
    const mayBeShort = found.isFile() && found.size < 4 * minLength;
    return mayBeShort && (await readFile(path, 'utf8')).trimEnd().length < minLength ? tooShort(minLength) : undefined;
  } catch {
    return 'cannot be read here: mount it where cambist runs, readable for its user';
  }
}

function tooShort(minLength: number): string {
  return `has a key of less than ${minLength} characters here: use a long random one, as of "openssl rand -base64 32"`;
}
