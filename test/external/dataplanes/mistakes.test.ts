import { testMistakes } from './mistakes.ts';

testMistakes('nginx', 'haproxy', 'caddy', 'traefik');
