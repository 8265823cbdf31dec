// Keeps a page up to date: asks for it again, and takes over only what has changed, so that scrolling, focus, folded
// sections and what is being typed stay as they are. Everything works without it.
'use strict';

(() => {
  const EVERY = 2000;
  const LONGEST = 30000;
  let mark = null;
  let wait = EVERY;
  let timer = 0;
  let asking = null;

  // The sections that somebody has folded or unfolded.
  const folded = new Set();
  // Whether what is taken over is by another filter than what is shown.
  let other = false;

  const key = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id) || null;

  // What a reader has folded stays folded. Else what becomes worth a look unfolds; nothing folds while it is looked at.
  function fold(old, fresh) {
    if (folded.has(old.id)) return;
    if (fresh.open) old.open = true;
    else if (other && !old.contains(document.activeElement)) old.open = false;
  }

  // Makes `old` the same as `fresh`.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || key(old) !== key(fresh)) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === 'open' && old.nodeName === 'DETAILS')) old.removeAttribute(name);
    }
    if (old.nodeName === 'DETAILS') fold(old, fresh);
    for (const { name, value } of fresh.attributes) {
      if (name === 'open' && old.nodeName === 'DETAILS') continue;
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    // A list of choices that is open would close.
    if (old.nodeName === 'SELECT' && old === document.activeElement) return;
    children(old, fresh);
  }

  // Without taking the focus from what is moved, where the browser can.
  function put(parent, node, before) {
    if (node.isConnected && parent.moveBefore) parent.moveBefore(node, before);
    else parent.insertBefore(node, before);
  }

  function children(old, fresh) {
    const known = new Map();
    for (const child of old.children) if (child.id) known.set(child.id, child);
    const wanted = new Set([...fresh.children].map(key));
    const stays = (node) => key(node) && wanted.has(node.id);
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const id = key(child);
      const same = id ? known.get(id) : null;
      if (same) {
        // Moves it to its place; whatever stands before it and isn't wanted any more goes.
        while (at && at !== same && !stays(at)) {
          const gone = at;
          at = at.nextSibling;
          gone.remove();
        }
        if (at === same) at = at.nextSibling;
        else put(old, same, at);
        morph(same, child);
      } else if (at && !id && !key(at) && at.nodeName === child.nodeName) {
        const next = at.nextSibling;
        morph(at, child);
        at = next;
      } else {
        put(old, document.importNode(child, true), at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      if (!stays(at)) at.remove();
      at = next;
    }
  }

  // How long ago each time was, in the server's words.
  function ago(seconds) {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  }

  // The server's clock counts: what it said first, and how long that was ago.
  const shown = document.querySelector('#live time');
  let ahead = shown ? Date.parse(shown.dateTime) - Date.now() : 0;

  function tick() {
    const now = Date.now() + ahead;
    for (const time of document.querySelectorAll('main time')) {
      const text = ago(Math.max(0, Math.floor((now - Date.parse(time.dateTime)) / 1000)));
      if (time.textContent !== text) time.textContent = text;
    }
  }

  const states = () => {
    const found = new Map();
    for (const row of document.querySelectorAll('[data-state]')) {
      found.set(row.dataset.target || row.id.slice(2), row.dataset.state);
    }
    return found;
  };

  // Says what has changed to a screen reader.
  function announce(before, after) {
    const changed = [...after].filter(([target, state]) => before.has(target) && before.get(target) !== state);
    if (!changed.length) return;
    const said = changed.slice(0, 3).map(([target, state]) => `${target} is ${state}`).join('; ');
    const more = changed.length > 3 ? `; and ${changed.length - 3} more have changed` : '';
    document.getElementById('news').textContent = said + more;
  }

  // Changes the page so that what one looks at stays where it is: what has the focus, if that is in view; else what most
  // of what is in view does.
  function steady(change) {
    const place = (node) => [node, node.getBoundingClientRect()];
    const seen = ([, box]) => box.height > 0 && box.bottom > 0 && box.top < innerHeight;
    const active = document.activeElement;
    const home = active.closest('details')?.querySelector('summary');
    const held = active.closest('#main > *') ? [place(active)].filter(seen) : [];
    const rows = document.querySelectorAll('#main details[open] tr[id], #main li[id], #main summary');
    const before = held.length || !scrollY ? held : [...rows].map(place).filter(seen);
    change();
    if (!active.isConnected) (home?.isConnected ? home : document.getElementById('main')).focus({ preventScroll: true });
    else if (active !== document.activeElement) active.focus({ preventScroll: true });
    const moved = new Map();
    for (const [node, box] of before) {
      const by = Math.round(node.getBoundingClientRect().top - box.top);
      if (node.isConnected) moved.set(by, (moved.get(by) ?? 0) + 1);
    }
    const [by] = [...moved].reduce((most, one) => (one[1] > most[1] ? one : most), [0, 0]);
    if (by) scrollBy({ top: by, behavior: 'instant' });
  }

  function take(text) {
    const fresh = new DOMParser().parseFromString(text, 'text/html');
    const main = fresh.getElementById('main');
    if (!main) return;
    const before = states();
    const time = fresh.querySelector('#live time');
    if (time) ahead = Date.parse(time.dateTime) - Date.now();
    steady(() => morph(document.getElementById('main'), main));
    other = false;
    document.title = fresh.title;
    announce(before, states());
    tick();
  }

  function live(stale) {
    const line = document.getElementById('live');
    const time = line.querySelector('time');
    if (!stale) {
      const now = new Date(Date.now() + ahead);
      time.dateTime = `${now.toISOString().slice(0, 19)}Z`;
      time.textContent = `${now.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
    }
    line.classList.toggle('stale', stale);
    line.firstChild.nodeValue = stale ? 'not reached since ' : 'live, ';
  }

  const place = () => location.href.split('#')[0];

  async function ask() {
    clearTimeout(timer);
    if (asking) asking.abort();
    const mine = new AbortController();
    asking = mine;
    // Where one is within the page doesn't matter.
    const url = place();
    try {
      const limit = setTimeout(() => mine.abort(), 15000);
      const headers = mark ? { 'If-None-Match': mark } : {};
      const answer = await fetch(url, { headers, cache: 'no-store', signal: mine.signal });
      const text = answer.ok ? await answer.text() : null;
      clearTimeout(limit);
      if (asking !== mine || url !== place()) return;
      if (text === null && answer.status !== 304) throw new Error(answer.statusText);
      if (text !== null) {
        take(text);
        mark = answer.headers.get('ETag');
      }
      wait = EVERY;
      live(false);
    } catch (error) {
      if (asking !== mine) return;
      wait = Math.min(wait * 2, LONGEST);
      live(true);
    }
    asking = null;
    if (!document.hidden) timer = setTimeout(ask, wait);
  }

  // Filters as one types.
  const form = document.getElementById('filter');
  let typing = 0;
  function filter() {
    const said = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value.trim()) said.append(name, value);
    const query = said.toString();
    history.replaceState(null, '', query ? `?${query}` : location.pathname);
    mark = null;
    other = true;
    ask();
  }
  if (form) {
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      filter();
    });
    form.addEventListener('input', () => {
      clearTimeout(typing);
      typing = setTimeout(filter, 200);
    });
  }

  document.addEventListener('click', (event) => {
    const summary = event.target.closest('summary');
    if (summary) folded.add(summary.parentNode.id);
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) ask();
  });
  setInterval(tick, 1000);
  document.documentElement.classList.add('scripted');
  timer = setTimeout(ask, EVERY);
})();
