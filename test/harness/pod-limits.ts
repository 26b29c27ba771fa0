import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { quantityOf } from '../../src/kubernetes/options.ts';

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

interface ExamplePod {
  spec: { initContainers: { resources: { limits: { memory: string } } }[] };
}

/** The memory limit of cambist in `deploy/pod.yaml`. */
export const POD_MEMORY_BYTES = memoryOf(parse(read('deploy/pod.yaml')) as ExamplePod);

/** `limits.max_in_flight` in `deploy/cambist.yaml`. */
export const POD_MAX_IN_FLIGHT = maxInFlightOf(read('deploy/cambist.yaml'));

/** The flags of node in the image's entry point. */
export const IMAGE_NODE_FLAGS: readonly string[] = nodeFlagsOf(read('Dockerfile'));

function memoryOf({ spec }: ExamplePod): number {
  const bytes = quantityOf(spec.initContainers[0]?.resources.limits.memory ?? '');
  if (bytes === undefined) throw new Error('deploy/pod.yaml has no memory limit');
  return bytes;
}

function maxInFlightOf(text: string): number {
  const { limits } = parse(text) as { limits: { max_in_flight: number } };
  return limits.max_in_flight;
}

function nodeFlagsOf(dockerfile: string): string[] {
  const [, list = '[]'] = /^ENTRYPOINT (\[.*\])$/m.exec(dockerfile) ?? [];
  return (JSON.parse(list) as string[]).slice(1, -1);
}
