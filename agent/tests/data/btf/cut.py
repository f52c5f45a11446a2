"""Keeps the types that the named structures hold by value; what they point to becomes void."""
import sys,struct
src, dst, *wanted = sys.argv[1:]
want = set(wanted)
d=open(src,'rb').read()
magic,ver,fl,hl,to,tl,so,sl=struct.unpack_from('<HBBIIIII',d)
T=d[hl+to:hl+to+tl]; S=d[hl+so:hl+so+sl]
def name(o): return S[o:S.index(b'\0',o)]
ext={1:(4,0),3:(12,0),4:(0,12),5:(0,12),6:(0,8),13:(0,8),14:(4,0),15:(0,12),17:(4,0),19:(0,12)}
types=[None];p=0
while p<len(T):
    n,i,s=struct.unpack_from('<III',T,p); k=i>>24&0x7f; v=i&0xffffff
    f,e=ext.get(k,(0,0)); L=f+e*v
    types.append((n,i,s,T[p+12:p+12+L])); p+=12+L
keep={};order=[]
def mark(t):
    if t==0 or t in keep: return
    keep[t]=1
    n,i,s,r=types[t]; k=i>>24&0x7f
    if k in(4,5):
        for a in range(0,len(r),12): mark(struct.unpack_from('<I',r,a+4)[0])
    elif k in(8,9,10,11,18): mark(s)
    elif k==3: mark(struct.unpack_from('<I',r)[0])
for t,x in enumerate(types):
    if x and (x[1]>>24&0x7f) in(4,) and name(x[0]).decode() in want: mark(t)
ids={t:n+1 for n,t in enumerate(sorted(keep))}
ids[0]=0
strs=bytearray(b'\0');si={b'':0}
def st(o):
    b=name(o)
    if b not in si: si[b]=len(strs); strs.extend(b+b'\0')
    return si[b]
out=bytearray()
for t in sorted(keep):
    n,i,s,r=types[t];k=i>>24&0x7f
    if k in(8,9,10,11,18): s=ids.get(s,0)
    elif k in(2,12,13): i=2<<24;s=0;r=b'';
    if k in(2,13): n=0
    if k in(6,19): i=(i&0xff000000);r=b''
    if k in(4,5):
        q=b''
        for a in range(0,len(r),12):
            mn,mt,mo=struct.unpack_from('<III',r,a); q+=struct.pack('<III',st(mn),ids.get(mt,0),mo)
        r=q
    if k==3: a,b,c=struct.unpack('<III',r); r=struct.pack('<III',ids.get(a,0),0,c)
    out+=struct.pack('<III',st(n),i,s)+r
h=struct.pack('<HBBIIIII',magic,1,0,24,0,len(out),len(out),len(strs))
open(dst,'wb').write(h+out+strs); print(dst,len(out)+len(strs)+24,len(keep))
