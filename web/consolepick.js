// Searches the directory as one types in a policy's form, and keeps the ticks and the
// lines of the groups the same. Without it the search is a button of the form.
(function () {
  'use strict';
  var pick = document.querySelector('[data-pick]');
  var into = pick && document.getElementById(pick.dataset.into);
  var search = pick && pick.querySelector('input[type=search]');
  var found = document.getElementById('found');
  if (!into || !search || !found || !window.fetch || !window.DOMParser) { return; }
  var timer = 0, asked = 0;
  function lines() {
    return into.value.split('\n').map(function (l) { return l.trim(); }).filter(Boolean);
  }
  function tick() {
    var there = lines();
    Array.prototype.forEach.call(found.querySelectorAll('input[name=pick]'), function (box) { box.checked = there.indexOf(box.value) >= 0; });
  }
  function look() {
    var question = ++asked;
    fetch(pick.dataset.pick + '?q=' + encodeURIComponent(search.value), { headers: { Accept: 'text/html' }, redirect: 'error' }).then(function (answer) {
      if (!answer.ok) { throw new Error(answer.status); }
      return answer.text();
    }).then(function (text) {
      var fresh = new DOMParser().parseFromString(text, 'text/html').getElementById('found');
      if (!fresh || question !== asked) { return; }
      found.replaceChildren.apply(found, fresh.childNodes);
      tick();
    }, function () { /* the button is still there */ });
  }
  search.addEventListener('input', function () {
    clearTimeout(timer);
    timer = setTimeout(look, 250);
  });
  search.addEventListener('keydown', function (event) {
    if (event.key === 'Enter') { event.preventDefault(); look(); }
  });
  found.addEventListener('change', function (event) {
    var box = event.target, there = lines().filter(function (l) { return l !== box.value; });
    if (box.checked) { there.push(box.value); }
    into.value = there.join('\n');
  });
  into.addEventListener('input', tick);
})();
