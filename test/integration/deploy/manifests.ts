import { readdirSync, readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

export interface Kustomization extends Manifest {
  readonly resources: readonly string[];
  readonly patches?: readonly { readonly path: string }[];
}

const folder = new URL('../../../deploy/', import.meta.url);

export const readDeployFile = (name: string): string => readFileSync(new URL(name, folder), 'utf8');

/** The config file of the example, which kustomize puts into a ConfigMap. */
const EXAMPLE_CONFIG = 'cambist.yaml';

/** @param within a folder below `deploy`, with a slash at its end */
export const manifestFiles = (within: string): string[] =>
  readdirSync(new URL(within, folder))
    .filter((name) => name.endsWith('.yaml') && name !== EXAMPLE_CONFIG)
    .map((name) => `${within}${name}`);

/** The documents of a YAML text. Throws on a duplicate key or a syntax error. kubectl reads YAML 1.1. */
export function parseDocuments<T = Manifest>(text: string, version: '1.1' | '1.2' = '1.1'): T[] {
  return parseAllDocuments(text, { version, uniqueKeys: true }).map((document) => {
    for (const problem of [...document.errors, ...document.warnings]) throw problem;
    return document.toJS() as T;
  });
}

export function readManifest<T extends Manifest>(name: string): T {
  const [manifest, ...more] = parseDocuments<T>(readDeployFile(name));
  if (manifest === undefined || more.length > 0) throw new Error(`${name} does not contain exactly one document`);
  return manifest;
}

export const exampleConfigText = (): string => readDeployFile(EXAMPLE_CONFIG);
