import assert from 'node:assert/strict';
import { fencedBlocks } from '../../harness/markdown.ts';
import { readPagesIn } from '../../harness/pages.ts';

const guide = readPagesIn('deploy');

/** The shell block of the Kubernetes guide that contains this text. */
export function guideScript(text: string): string {
  const found = fencedBlocks(guide, 'sh').filter((block) => block.includes(text));
  assert.equal(found.length, 1, `blocks of the guide with "${text}"`);
  return found[0] ?? '';
}

/** The manifests or chart values in the guide's blocks of this language. */
export function guideManifests(language: 'yaml' | 'yaml kagent' | 'yaml values'): string[] {
  return fencedBlocks(guide, language);
}
