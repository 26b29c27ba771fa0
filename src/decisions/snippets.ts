import { envoy } from './snippet-envoy.ts';
import type { SnippetFacts } from './snippet-facts.ts';

/** The config of each data plane: a whole file that runs as it is but for addresses and names. */
export const SNIPPETS = {
  envoy,
} as const satisfies Readonly<Record<string, (facts: SnippetFacts) => string>>;

export type SnippetKind = keyof typeof SNIPPETS;
