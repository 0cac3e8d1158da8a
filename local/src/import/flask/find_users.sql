-- The site is not in these tables. A new user gets its Parlor id from the import.
select u.id::text, null::bigint, null::bigint,
       coalesce(nullif(u.nickname::text, ''), nullif(u.username::text, '')), null::text, null::text
from users u
order by u.id
