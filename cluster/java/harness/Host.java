package javacluster.internal;

import java.io.FileDescriptor;
import java.lang.invoke.MethodHandles.Lookup;
import java.lang.reflect.Field;

/** What the launcher needs of the JDK and is not offered, for one that stands beside it on the boot class path. */
final class Host {
    private Host() {}

    /** The descriptor of a file that is open already. */
    static FileDescriptor descriptor(int number) throws ReflectiveOperationException {
        sun.misc.Unsafe unsafe = unsafe();
        FileDescriptor descriptor = new FileDescriptor();
        unsafe.putInt(descriptor, unsafe.objectFieldOffset(FileDescriptor.class.getDeclaredField("fd")), number);
        return descriptor;
    }

    /** All that the type itself may do; {@code privateLookupIn} gives less to who is in another module. */
    static Lookup lookup(Class<?> type) throws ReflectiveOperationException {
        sun.misc.Unsafe unsafe = unsafe();
        Field field = Lookup.class.getDeclaredField("IMPL_LOOKUP");
        Lookup all = (Lookup) unsafe.getObject(unsafe.staticFieldBase(field), unsafe.staticFieldOffset(field));
        return all.in(type);
    }

    private static sun.misc.Unsafe unsafe() throws ReflectiveOperationException {
        Field theUnsafe = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        theUnsafe.setAccessible(true);
        return (sun.misc.Unsafe) theUnsafe.get(null);
    }
}
