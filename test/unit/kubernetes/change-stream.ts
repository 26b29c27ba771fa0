import { type ManifestChange, readStream } from '../../../src/kubernetes/manifest-stream.ts';

/** Changes the documents of a text. @throws {ManifestError} */
export function changeStream(text: string, name: string, change: ManifestChange) {
  return readStream(text, name).change(change);
}
