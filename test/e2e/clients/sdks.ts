import type { AgentSdk } from '../../harness/agent-client.ts';
import { SDK_V1 } from '../../harness/agent-client-v1.ts';
import { SDK_V2_LEGACY, SDK_V2_NEGOTIATED } from '../../harness/agent-client-v2.ts';

/** The TypeScript SDKs, with every protocol that they support. */
export const SDKS: readonly AgentSdk[] = [SDK_V1, SDK_V2_LEGACY, SDK_V2_NEGOTIATED];
