// How many connections uploads and job streams may hold. Over HTTP/1.1 a browser opens six to a
// server: these four may be held for minutes; the other two stay free for an answer and for short requests.

export const MAX_UPLOADS = 2;
export const MAX_JOB_STREAMS = 2;
